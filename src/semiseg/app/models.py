"""The models that a page can show: a run's own, its student, and those of other runs, each loaded when it is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiseg.data.spec import SCORE_NAMES
from semiseg.engine.rundir import RunDirectory
from semiseg.errors import ConfigError, ModelError
from semiseg.models import ModelCard, find_model, read_card
from semiseg.prediction import Predictor
from semiseg.prediction.student import load_student
from semiseg.printable import printable


@dataclass(frozen=True)
class Shown:
    """A model that can be asked: what it is called, what is known of it, and how it is loaded."""

    label: str
    detail: str
    load: Callable[[], Predictor]


class Models:
    """The models by key: `model`, `student` where the run has one, and `other1`, `other2`, ..

    Args:
        run: a run directory, or the model directory in it.
        others: more of them, of the same classes.
        device: where they run.

    Raises:
        ModelError: no model there, or one that is not like the first.
    """

    def __init__(self, run: Path, others: Sequence[Path] = (), device: str = "auto") -> None:
        self.card = read_card(find_model(run))
        self.shown = {"model": _whole(run, _own_name(run), device)}
        if has_student(run):
            load = lambda: _student(run, device)  # noqa: E731
            self.shown["student"] = Shown("student", "newest", load)
        for number, other in enumerate(others, start=1):
            _refuse_unlike(self.card, other)
            self.shown[f"other{number}"] = _whole(other, printable(run_name(other)), device)
        self._loaded: dict[str, Predictor] = {}
        self.lock = threading.Lock()
        """Held while a model is loaded or asked: they share the cores, or the GPU."""

    def predictor(self, key: str) -> Predictor:
        """Return a model, loaded; KeyError: there is none of this key. The caller holds the lock."""
        if key not in self._loaded:
            self._loaded[key] = self.shown[key].load()
        return self._loaded[key]


def has_student(run: Path) -> bool:
    """Whether a run holds a student beside its teacher: a checkpoint, of a method that has an average."""
    from semiseg.reporting.record import read_run

    directory = RunDirectory(run)
    return directory.config.is_file() and any(directory.checkpoints.glob("step_*")) and len(read_run(run).models()) == 2


def _student(run: Path, device: str) -> Predictor:
    """Load the student of a run that has one; raises as `load_student`, and where its checkpoints are gone."""
    student = load_student(run, device)
    if student is None:
        raise ModelError("no checkpoint", where=RunDirectory(run).checkpoints, remedy="restore the folder")
    return student


def _own_name(run: Path) -> str:
    return "teacher" if has_student(run) else "model"


def run_name(run: Path) -> str:
    """Return what a run is called, also where its model directory is named."""
    folder = run.resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def _whole(run: Path, label: str, device: str) -> Shown:
    figures = read_card(find_model(run)).metrics
    known = [(SCORE_NAMES[name], figures[name]) for name in ("changed_iou", "miou") if name in figures]
    detail = ", ".join(f"{name} {100 * value:.1f}" for name, value in known[:1])
    return Shown(label, detail, lambda: Predictor.load(run, device))


def _refuse_unlike(card: ModelCard, other: Path) -> None:
    found = read_card(find_model(other))
    if (found.classes, found.frames) != (card.classes, card.frames):
        raise ConfigError(
            "a model of other classes, or of another number of pictures",
            where=other,
            expected=f"{card.frames} pictures a sample, the classes {', '.join(card.classes)}",
            remedy="name a run on the same data with --with",
        )
