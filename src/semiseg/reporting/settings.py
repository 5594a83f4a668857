"""Runs that differ by their seed alone are one setting: a mean and a spread instead of several figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from semiseg.engine.rundir import flatten
from semiseg.methods import METHODS
from semiseg.reporting.record import RunRecord

_FREE = (
    "seed",
    "recipe",
    "published",
    "device",
    "run.name",
    "run.folder",
    "data.workers",
    "data.splits",
    "evaluation.batch",
)
"""Keys of the config that do not make another setting: what happens at random, and what does not change the result."""
_LEARNING = ("method", "consistency", "strong")
"""Sections of the config that say how to learn from unlabeled images; so does the section of each method."""
_TELLING = ("model.encoder", "data.root", "data.spec", "data.split", "schedule.steps", "schedule.epochs")
"""Keys that tell a setting from others of its method better than any other."""
_WORDS, _LONGEST = 3, 30
"""Differing values that a setting is named by, and characters of a value; of more, and where these do not tell it from
another one, the name of its run does."""


@dataclass(frozen=True)
class Figures:
    """One figure of each run of a setting; runs that do not have it are left out."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """The mean; None without any figure."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """The standard deviation of single runs, estimated from these; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def text(self, show: Callable[[float], str]) -> str:
        """Write the mean, and the spread where there is one."""
        if self.mean is None:
            return "-"
        return show(self.mean) if self.spread is None else f"{show(self.mean)} ± {show(self.spread)}"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Runs of one setting, in the order they were given."""

    label: str
    """What tells it from the other settings: its method, and where that is not enough, the values that differ. Of many
    those that tell most, and where these do not tell it from another one, the name of its run."""
    runs: tuple[RunRecord, ...]
    told: tuple[str, ...] = ()
    """The keys of these values."""

    @property
    def labeled_only(self) -> bool:
        """Whether it learns from labeled images alone."""
        return labeled_only(self.runs[0])

    def figures(self, of: Callable[[RunRecord], float | None]) -> Figures:
        """Take one figure of each run."""
        found = (of(run) for run in self.runs)
        return Figures(tuple(value for value in found if value is not None))

    @property
    def best(self) -> Figures:
        """The score that each run is judged by, 0 to 1."""
        return self.figures(best_score)

    def iou(self, name: str) -> Figures:
        """The IoU of a class at the best evaluation of each run, 0 to 1."""
        return self.figures(lambda run: _class_iou(run, name))


def best_score(run: RunRecord) -> float | None:
    """Return the best score of the model that is kept, 0 to 1; None before any evaluation."""
    best = run.best()
    return next(iter(best.figures.values())) if best else None


def group(runs: Sequence[RunRecord]) -> list[Setting]:
    """Put the runs of each setting together; settings and runs stay in the order of their first run."""
    groups: list[list[RunRecord]] = []
    for run in runs:
        alike = next((found for found in groups if not differing([found[0], run])), None)
        if alike:
            alike.append(run)
        else:
            groups.append([run])
    return _named(groups)


def differing(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Return the keys of the config in which runs differ as settings do, and the value of each run.

    A key that not all of them have came with a later version, where its default is what was done before.
    """
    choices = [_choices(run) for run in runs]
    values = {
        key: [found.get(key) for found in choices] for key in choices[0] if all(key in found for found in choices)
    }
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def beside_the_method(one: Setting, other: Setting) -> list[str]:
    """Return the keys in which two settings differ that are no part of how they learn from unlabeled images."""
    parts = (*_LEARNING, *METHODS)
    keys = differing([one.runs[0], other.runs[0]])
    return [key for key in keys if key.partition(".")[0] not in parts and key != "data.labeled_epoch"]


def untold(one: Setting, other: Setting) -> list[str]:
    """Return the keys in which two settings of one method differ without their names saying so."""
    return [key for key in differing([one.runs[0], other.runs[0]]) if key not in one.told]


def _choices(run: RunRecord) -> dict[str, Any]:
    """Return the keys that make a setting; the sections of methods that the run does not use say nothing of it."""
    unused = set(METHODS) - {run.setting("method")}
    flat = flatten(dict(run.config))
    return {key: value for key, value in flat.items() if key not in _FREE and key.partition(".")[0] not in unused}


def _named(groups: Sequence[Sequence[RunRecord]]) -> list[Setting]:
    """Name each setting by its method, and by what tells it from the others of that method."""
    settings = []
    for runs in groups:
        method = _method(runs[0])
        keys = differing([other[0] for other in groups if _method(other[0]) == method])
        told = [*keys] if len(keys) <= _WORDS else [key for key in _TELLING if key in keys]
        own = _choices(runs[0])
        words = [f"{key.rpartition('.')[2]} {_short(key, own[key])}" for key in told if own[key] is not None]
        settings.append(Setting(label=", ".join([method, *words]), runs=tuple(runs), told=tuple(told)))
    labels = [setting.label for setting in settings]
    return [
        setting
        if labels.count(setting.label) == 1
        else replace(setting, label=f"{setting.label}, {setting.runs[0].name}")
        for setting in settings
    ]


def _short(key: str, value: Any) -> str:
    """Write a value for a name; of a folder its last part."""
    text = PurePath(str(value)).name if key in ("data.root", "data.split") else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _method(run: RunRecord) -> str:
    return "labeled-only" if labeled_only(run) else run.setting("method") or "unknown method"


def labeled_only(run: RunRecord) -> bool:
    """Return whether a run learns from labeled images alone."""
    method = METHODS.get(run.setting("method") or "")
    return method is not None and not method.learns_unlabeled


def _class_iou(run: RunRecord, name: str) -> float | None:
    best = run.best()
    found = dict(best.classes).get(name, {}) if best else {}
    return next(iter(found.values()), None)
