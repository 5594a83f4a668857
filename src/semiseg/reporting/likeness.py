"""What must be alike for figures to be comparable, and what is to be said where something else is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from semiseg.data.record import same_samples
from semiseg.data.spec import SCORE_NAMES
from semiseg.engine.rundir import RunDirectory
from semiseg.errors import DataError, RunError
from semiseg.reporting.record import RunRecord
from semiseg.reporting.wording import counted

_VAL_KEYS = ("data.root", "data.spec", "data.val", "data.held_out", "data.split_seed")
"""The settings that decide which images are evaluated on."""


def refuse_unlike(runs: Sequence[RunRecord]) -> None:
    """Check that there is something to compare.

    Raises:
        RunError: fewer than two runs, one of them twice, or runs of other classes or another score.
    """
    if len(runs) < 2:
        raise RunError("one run alone compares with nothing", remedy="name two runs or more")
    seen: dict[Any, RunRecord] = {}
    for run in runs:
        if run.path.resolve() in seen:
            raise RunError("the same run twice", where=run.path, remedy="name each run once")
        seen[run.path.resolve()] = run
    evaluated = [run for run in runs if run.models()]
    for run in evaluated[1:]:
        _refuse_other(evaluated[0], run)


def _refuse_other(first: RunRecord, run: RunRecord) -> None:
    if set(run.classes()) != set(first.classes()):
        raise RunError(
            "the runs know different classes, so their figures are of different things",
            where=f"{first.path}: {', '.join(first.classes())}\n            {run.path}: {', '.join(run.classes())}",
            remedy="compare runs of one data set",
        )
    if run.score != first.score:
        raise RunError(
            f"{first.name} is judged by its {SCORE_NAMES[first.score]}, {run.name} by its {SCORE_NAMES[run.score]}",
            remedy="compare runs of one task",
        )


def obstacles(runs: Sequence[RunRecord]) -> list[str]:
    """Say why the scores of evaluated runs cannot be compared: other val images, or another way to look at them."""
    runs = [run for run in runs if run.models()]
    found = []
    if not _alike(runs, lambda run: run.environment.get("val")) or False in _kept_alike(runs, "val"):
        numbers = ", ".join(f"{run.name}: {run.environment.get('val', 'unknown')}" for run in runs)
        found.append(f"The runs were evaluated on different images ({numbers})")
    cards = [(run.name, run.card) for run in runs if run.card]
    if len({card.protocol for _, card in cards}) > 1:
        shown = ", ".join(f"{name}: {card.protocol}" for name, card in cards)
        found.append(f"The runs were evaluated by different protocols ({shown})")
    if len({card.long_side for _, card in cards}) > 1:
        shown = ", ".join(f"{name}: {_long_side(card.long_side)}" for name, card in cards)
        found.append(f"The runs were evaluated on images of different sizes ({shown})")
    return found


def _long_side(pixels: int | None) -> str:
    return "as they are" if pixels is None else f"at most {pixels:,} pixels long"


def cautions(runs: Sequence[RunRecord]) -> list[str]:
    """Say what else a reader should know before comparing."""
    return [words for check in (_same_val, _same_labels, _finished, _looks) for words in check(runs)]


def _same_val(runs: Sequence[RunRecord]) -> list[str]:
    same_settings = _alike(runs, lambda run: tuple(run.setting(key) for key in _VAL_KEYS))
    if same_settings or None not in _kept_alike(runs, "val"):
        return []
    return [
        "Whether all runs were evaluated on the same images is not known: their settings of the data differ. "
        "Figures are comparable on the same images alone."
    ]


def _same_labels(runs: Sequence[RunRecord]) -> list[str]:
    if _alike(runs, lambda run: run.environment.get("labeled")) and False not in _kept_alike(runs, "labeled"):
        return []
    numbers = ", ".join(f"{run.name}: {run.environment.get('labeled', 'unknown')}" for run in runs)
    return [f"The runs did not learn from the same labeled images ({numbers})."]


def _finished(runs: Sequence[RunRecord]) -> list[str]:
    found = []
    for run in runs:
        planned = run.config.get("schedule", {}).get("steps") if isinstance(run.config.get("schedule"), dict) else None
        if isinstance(planned, int) and run.steps < planned:
            found.append(f"{run.name} is not finished: step {run.steps:,} of {planned:,}.")
    return found


def _looks(runs: Sequence[RunRecord]) -> list[str]:
    looks = {run.name: evaluations(run) for run in runs if run.models()}
    if len(set(looks.values())) < 2:
        return []
    shown = ", ".join(f"{name}: {counted(count, 'evaluation')}" for name, count in looks.items())
    return [f"A run's score is the best of its evaluations, and who looks more often finds more ({shown})."]


def evaluations(run: RunRecord) -> int:
    """Return how often the model that is kept was evaluated."""
    models = run.models()
    return len(run.metrics[f"{models[0]}/{run.score}"]) if models else 0


def _kept_alike(runs: Sequence[RunRecord], part: Literal["labeled", "val"]) -> set[bool | None]:
    """Hold the lists that runs have kept against that of the first; None stands for what is not known."""
    if not runs:
        return set()
    found: set[bool | None] = set()
    for run in runs[1:]:
        try:
            found.add(same_samples(RunDirectory(runs[0].path).data, RunDirectory(run.path).data, part))
        except DataError:
            found.add(None)
    return found


def _alike(runs: Sequence[RunRecord], of: Callable[[RunRecord], Any]) -> bool:
    return len({repr(of(run)) for run in runs}) < 2
