"""What a run directory holds, read for its report."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from semiseg.data.spec import Score as ScoreName
from semiseg.data.yaml_file import read_yaml
from semiseg.engine.class_windows import ClassWindow, read_windows
from semiseg.engine.rundir import RunDirectory
from semiseg.errors import RunError
from semiseg.models import ModelCard, read_card
from semiseg.reporting.quality_record import QualityRecord, read_quality

_LARGEST_FIGURE = 1e100
"""What is not below it, or no number at all, is no figure of a run, and none that means and axes could be made of."""
_LARGEST_TEXT = 4_000_000
"""Bytes; a config, a card or an environment beyond this was not written by a run."""


class Point(NamedTuple):
    """One figure of the metrics."""

    step: int
    epoch: float
    value: float


@dataclass(frozen=True, kw_only=True)
class Score:
    """One evaluation; every model's figures by its name, fractions, the labeling model first."""

    step: int
    epoch: float
    figures: Mapping[str, float]
    """What a model is judged by, for example `{"teacher": 0.714, "student": 0.698}`; a method without a teacher has the
    student alone."""
    classes: tuple[tuple[str, Mapping[str, float]], ...]
    """Each class, in the order of the ids, and the models' IoU."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The files of one run; those that an unfinished run has not written yet are empty."""

    path: Path
    """The directory."""
    name: str
    """Name of the directory."""
    config: Mapping[str, Any]
    """`config.yaml`, parsed."""
    config_text: str
    """`config.yaml`, as it stands."""
    environment: Mapping[str, Any]
    """`environment.json`."""
    metrics: Mapping[str, tuple[Point, ...]]
    """`metrics.csv`: the finite figures of each name, ascending in step."""
    card: ModelCard | None
    """The model's card, once the run has left a model."""
    samples: tuple[Path, ...]
    """The pictures, oldest first."""
    damaged: tuple[str, ...] = ()
    """Unlabeled images that could not be read and were passed over."""
    window_classes: tuple[str, ...] = ()
    """The classes of the windows, by id."""
    windows: tuple[ClassWindow, ...] = ()
    """`pseudo_labels.csv`, ascending in step."""
    quality: QualityRecord | None = None
    """What the newest evaluation told beside its score."""
    twin: Mapping[str, Any] = field(default_factory=dict)
    """How it compares with its labeled-only twin, once that was trained."""
    distilled: Mapping[str, Any] = field(default_factory=dict)
    """How it compares with its teachers, if it learned from the labels of trained ones."""
    extremes: Path | None = None
    """The picture of the val images that are worst and best."""

    def setting(self, key: str) -> str | None:
        """Return the plain value of a dotted config key as text; None if there is none."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return str(value) if isinstance(value, str | int | float) else None

    def last(self, name: str) -> Point | None:
        """Return the latest figure of one name."""
        points = self.metrics.get(name, ())
        return points[-1] if points else None

    @property
    def length(self) -> int:
        """The steps of the whole run, or where its config does not say it, those that were logged."""
        asked = self.setting("schedule.steps")
        last = self.last("train/loss")
        if asked is not None and asked.isdecimal():
            return int(asked[:18])
        epochs = self.setting("schedule.epochs")
        if last is None or not last.epoch > 0 or epochs is None or not epochs.isdecimal():
            return self.steps
        return round(int(epochs[:9]) * last.step / last.epoch)

    @property
    def steps(self) -> int:
        """Steps done, as far as they were logged."""
        last = self.last("train/loss")
        return last.step if last else 0

    def seconds(self, step: int | None = None) -> float | None:
        """Return the seconds of training up to a step, evaluations left out.

        Args:
            step: a number of steps; None: those that were logged.

        Returns:
            None where the pace was not logged from the first step on.
        """
        paces = self.metrics.get("train/seconds_per_step", ())
        if not paces or len(paces) != len(self.metrics.get("train/loss", ())):
            return None
        end, began, total = self.steps if step is None else step, 0, 0.0
        for pace in paces:
            total += pace.value * max(min(pace.step, end) - began, 0)
            began = pace.step
        return total

    def models(self) -> tuple[str, ...]:
        """Return the evaluated models; first the one that labels and is kept, the teacher where there is one."""
        return tuple(name for name in ("teacher", "student") if f"{name}/miou" in self.metrics)

    @property
    def score(self) -> ScoreName:
        """The key of the figure that a model is judged by: `changed_iou` where it was logged, else `miou`."""
        return "changed_iou" if any(f"{model}/changed_iou" in self.metrics for model in self.models()) else "miou"

    def best(self) -> Score | None:
        """Return the evaluation with the highest score of the labeling model, of equals the last; None before any."""
        models = self.models()
        if not models:
            return None
        top = max(self.metrics[f"{models[0]}/{self.score}"], key=lambda point: (point.value, point.step))
        return Score(
            step=top.step,
            epoch=top.epoch,
            figures=self._at(top.step, models, self.score),
            classes=tuple((name, self._at(top.step, models, f"iou/{name}")) for name in self.classes()),
        )

    def classes(self) -> tuple[str, ...]:
        """Return the evaluated classes: as the model's card orders them, else as the metrics do."""
        prefix = f"{self.models()[0]}/iou/" if self.models() else ""
        evaluated = [name.removeprefix(prefix) for name in self.metrics if prefix and name.startswith(prefix)]
        known = list(self.card.classes) if self.card else []
        return *(name for name in known if name in evaluated), *(name for name in evaluated if name not in known)

    def _at(self, step: int, models: Sequence[str], name: str) -> dict[str, float]:
        return {
            model: point.value
            for model in models
            for point in self.metrics.get(f"{model}/{name}", ())
            if point.step == step
        }


def read_run(run: Path) -> RunRecord:
    """Read a run directory, finished or not.

    Raises:
        RunError: not a run directory, or one of its files is damaged.
        ModelError: the card of its model is damaged.
    """
    if not (run / "config.yaml").is_file():
        raise RunError(
            "not a run directory" if run.is_dir() else "no such run directory",
            where=run,
            expected="a directory with config.yaml, as training makes it",
            remedy="name a directory below runs/",
        )
    window_classes, windows = read_windows(run / "pseudo_labels.csv")
    return RunRecord(
        path=run,
        name=run.resolve().name,
        config=read_yaml(run / "config.yaml", RunError, typed=True),
        config_text=_text(run / "config.yaml"),
        environment=_json(run / "environment.json"),
        metrics=_metrics(run / "metrics.csv"),
        card=read_card(run / "model") if (run / "model" / "config.json").is_file() else None,
        samples=tuple(sorted((run / "samples").glob("*.png"))),
        damaged=tuple(map(str, _json(run / "data" / "quarantine.json"))),
        window_classes=tuple(window_classes),
        windows=tuple(windows),
        twin=_json(RunDirectory(run).twin),
        distilled=_json(RunDirectory(run).distilled),
        quality=read_quality(RunDirectory(run).quality),
        extremes=RunDirectory(run).extremes if RunDirectory(run).extremes.is_file() else None,
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise ValueError("the file is too large")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    return value if isinstance(value, dict) else {}


def _metrics(path: Path) -> dict[str, tuple[Point, ...]]:
    """Read the tidy table `step,epoch,name,value`; of a step that a resumed run repeated, the later row counts."""
    if not path.is_file():
        return {}
    found: dict[str, dict[int, Point]] = {}
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            point = _point(row)
            if point is not None:
                found.setdefault(str(row["name"]), {})[point.step] = point
    return {name: tuple(points[step] for step in sorted(points)) for name, points in found.items()}


def _point(row: Mapping[str, Any]) -> Point | None:
    """Read one row; None for figures that no run has, and for the last row of a run that is being written."""
    try:
        point = Point(int(row["step"]), float(row["epoch"]), float(row["value"]))
    except (KeyError, TypeError, ValueError):
        return None
    return point if all(abs(part) < _LARGEST_FIGURE for part in point) else None


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"unreadable file ({error})", where=path, remedy="restore the file, or take it out of the run")
