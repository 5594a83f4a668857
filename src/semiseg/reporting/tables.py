"""The tables of a comparison: a column for each setting, the first one being what the others are held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semiseg.data.palette import Colour
from semiseg.engine.progress import duration
from semiseg.reporting.likeness import evaluations
from semiseg.reporting.record import RunRecord
from semiseg.reporting.settings import Figures, Setting, differing
from semiseg.reporting.wording import difference, is_level, plain, points

_SETTINGS = (
    ("Method", "method"),
    ("Encoder", "model.encoder"),
    ("Decoder", "model.decoder"),
    ("First weights", "model.weights"),
    ("Longer side at most", "data.long_side"),
    ("Crop", "data.crop"),
    ("Global batch", "schedule.batch"),
    ("Learning rate (encoder)", "optimizer.lr"),
)
"""What the table calls a setting, and its key in the config."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: what it tells, and a cell for each setting."""

    name: str
    cells: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether all settings say the same."""
        return len(set(self.cells)) == 1


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Lines under one heading."""

    title: str
    rows: tuple[Row, ...]

    @property
    def differing(self) -> list[Row]:
        """The lines in which settings differ."""
        return [row for row in self.rows if not row.same]

    @property
    def same(self) -> list[Row]:
        """The lines in which all settings say the same."""
        return [row for row in self.rows if row.same]


@dataclass(frozen=True, kw_only=True)
class ClassCell:
    """The IoU of a class by one setting: its share of the bar, as text, and the difference to the first setting."""

    share: float | None
    text: str
    gain: float | None

    @property
    def difference(self) -> str:
        """The difference in points, with its sign; empty where there is none to tell."""
        return "" if self.gain is None else difference(self.gain)

    @property
    def style(self) -> str:
        """The class of the difference in the style sheet."""
        return "level" if is_level(self.gain or 0.0) else "gain" if (self.gain or 0.0) > 0 else "loss"


@dataclass(frozen=True, kw_only=True)
class ComparedClass:
    """A class, its colour where it is known, and a cell for each setting."""

    name: str
    colour: Colour | None
    cells: tuple[ClassCell, ...]


def facts(settings: Sequence[Setting], score: str, parameters: Mapping[str, int]) -> list[Rows]:
    """Return what the settings reached and took, and what they are.

    Args:
        settings: all of them, the first one first.
        score: what the figure is called that they are judged by.
        parameters: number of the model's parameters by the path of a run; runs without a model are left out.
    """

    def rows(title: str, *pairs: tuple[str, Callable[[Setting], str]]) -> Rows:
        found = (Row(name=name, cells=tuple(cell(setting) for setting in settings)) for name, cell in pairs)
        return Rows(title=title, rows=tuple(row for row in found if set(row.cells) != {"-"}))

    return [
        rows(
            "Result",
            (f"Best {score}", lambda setting: setting.best.text(points)),
            ("Difference to the first", lambda setting: _gain(setting, settings[0])),
            ("Reached at step", lambda setting: _each(setting, _best_step)),
            ("Evaluations", lambda setting: _each(setting, lambda run: evaluations(run) or None)),
            ("Seeds", lambda setting: _each(setting, lambda run: run.setting("seed"))),
        ),
        rows(
            "What it took",
            ("Steps", lambda setting: _each(setting, lambda run: run.steps or None)),
            ("Seconds a step", lambda setting: _mean(setting.figures(_seconds_per_step), plain)),
            ("Training, without evaluations", lambda setting: _mean(setting.figures(RunRecord.seconds), duration)),
            ("Images a second", lambda setting: _mean(setting.figures(_speed), plain)),
            ("GPU memory, GB", lambda setting: _mean(setting.figures(_memory), plain)),
            ("Device", lambda setting: _each(setting, _device)),
        ),
        rows(
            "Data",
            ("Labeled images", lambda setting: _each(setting, lambda run: run.environment.get("labeled"))),
            ("Unlabeled images", _unlabeled),
            ("Validation images", lambda setting: _each(setting, lambda run: run.environment.get("val"))),
        ),
        rows(
            "Model",
            ("Parameters", lambda setting: _each(setting, lambda run: parameters.get(str(run.path)))),
            *((name, _setting(key)) for name, key in _SETTINGS),
        ),
        _others(settings),
    ]


def _others(settings: Sequence[Setting]) -> Rows:
    """Return every other key in which the settings differ."""
    shown = {key for _, key in _SETTINGS}
    found = differing([setting.runs[0] for setting in settings])
    rows = (
        Row(name=key, cells=tuple("-" if value is None else str(value) for value in values))
        for key, values in found.items()
        if key not in shown
    )
    return Rows(title="Other settings that differ", rows=tuple(rows))


def classes(settings: Sequence[Setting]) -> list[ComparedClass]:
    """Return the IoU of every class at the best evaluation of each run."""
    runs = [run for setting in settings for run in setting.runs if run.models()]
    cards = [run.card for run in runs if run.card]
    colours = dict(zip(cards[0].classes, cards[0].palette, strict=True)) if cards else {}
    names = next((run.classes() for run in runs if run.card), runs[0].classes() if runs else ())
    return [
        ComparedClass(name=name, colour=colours.get(name), cells=tuple(_class_cells(settings, name))) for name in names
    ]


def summary(setting: Setting, first: Setting, parameters: Mapping[str, int]) -> dict[str, Any]:
    """Return what a setting reached and took as plain values; null where nothing is known."""
    ours, theirs = setting.best.mean, first.best.mean
    names = next((run.classes() for run in setting.runs if run.models()), ())
    return {
        "setting": setting.label,
        "labeled_only": setting.labeled_only,
        "runs": [str(run.path) for run in setting.runs],
        "best": list(setting.best.values),
        "mean": ours,
        "spread": setting.best.spread,
        "difference": None if ours is None or theirs is None else ours - theirs,
        "iou": {name: setting.iou(name).mean for name in names},
        "steps": [run.steps for run in setting.runs],
        "seconds_per_step": setting.figures(_seconds_per_step).mean,
        "seconds": setting.figures(RunRecord.seconds).mean,
        "images_per_second": setting.figures(_speed).mean,
        "gpu_gb": setting.figures(_memory).mean,
        "parameters": parameters.get(str(setting.runs[0].path)),
        **{count: setting.runs[0].environment.get(count) for count in ("labeled", "unlabeled", "val")},
    }


def _class_cells(settings: Sequence[Setting], name: str) -> list[ClassCell]:
    figures = [setting.iou(name) for setting in settings]
    base = figures[0].mean
    return [
        ClassCell(
            share=found.mean,
            text=points(found.mean),
            gain=None if place == 0 or found.mean is None or base is None else found.mean - base,
        )
        for place, found in enumerate(figures)
    ]


def _gain(setting: Setting, first: Setting) -> str:
    ours, theirs = setting.best.mean, first.best.mean
    return "-" if setting is first or ours is None or theirs is None else difference(ours - theirs)


def _each(setting: Setting, of: Callable[[RunRecord], Any]) -> str:
    """Write what each run says, once if all say the same."""
    found = dict.fromkeys(_written(of(run)) for run in setting.runs)
    return ", ".join(found)


def _written(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _setting(key: str) -> Callable[[Setting], str]:
    return lambda setting: _each(setting, lambda run: run.setting(key))


def _best_step(run: RunRecord) -> int | None:
    best = run.best()
    return best.step if best else None


def _seconds_per_step(run: RunRecord) -> float | None:
    seconds = run.seconds()
    return seconds / run.steps if seconds is not None and run.steps else None


def _speed(run: RunRecord) -> float | None:
    found = [point.value for point in run.metrics.get("train/images_per_second", ())]
    return statistics.median(found) if found else None


def _memory(run: RunRecord) -> float | None:
    return max((point.value for point in run.metrics.get("train/gpu_gb", ())), default=None)


def _mean(figures: Figures, show: Callable[[float], str]) -> str:
    return "-" if figures.mean is None else show(figures.mean)


def _device(run: RunRecord) -> str | None:
    cpu, gpu = (run.environment.get(name) for name in ("cpu", "gpu"))
    found = cpu if gpu == "none" or run.setting("device") == "cpu" else gpu
    return str(found) if found else None


def _unlabeled(setting: Setting) -> str:
    count = _each(setting, lambda run: run.environment.get("unlabeled"))
    if not setting.labeled_only:
        return count
    return "not used" if count in ("0", "-") else f"not used ({count})"
