"""Who won, by how many points, and what the answer is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from semiseg.reporting.settings import Figures, Setting, beside_the_method, untold
from semiseg.reporting.wording import counted, is_level, points

_SHOWN = 4
"""How many of the keys that differ besides are named; the page lists all in a table."""


@dataclass(frozen=True)
class Verdict:
    """The answer in one sentence, and the sentences that say what to think of it."""

    headline: str
    details: tuple[str, ...] = ()


def verdict(settings: Sequence[Setting], score: str, obstacles: Sequence[str]) -> Verdict:
    """Judge: labeled-only against semi-supervised where both are there, else each against the first setting.

    Args:
        settings: all of them, the first one first.
        score: what the figure is called that they are judged by.
        obstacles: why their figures cannot be compared; with any, there is no winner.
    """
    judged = [setting for setting in settings if setting.best.values]
    if obstacles:
        return Verdict("No winner can be named: " + obstacles[0][0].lower() + obstacles[0][1:])
    if not judged:
        return Verdict("None of these runs has been evaluated yet")
    if len(judged) == 1:
        best = judged[0].best
        return Verdict(f"{judged[0].label} reaches {best.text(points)} {score} in {counted(len(best.values), 'run')}")
    base, others = _sides(judged)
    first, *rest = others
    details = [
        *_unlike(first, base),
        _worth(first, base, judged),
        *(" ".join((f"{_sentence(other, base, score)}.", *_unlike(other, base))) for other in rest),
    ]
    return Verdict(_sentence(first, base, score), tuple(details))


def _sides(judged: Sequence[Setting]) -> tuple[Setting, list[Setting]]:
    """Return the setting that the others are held against, and those others, the best first.

    With labeled-only and semi-supervised settings it is the best labeled-only one, and the others are semi-supervised.
    Those that differ from it by the method alone come before those that have another network, say, as well.
    """
    labeled = [setting for setting in judged if setting.labeled_only]
    semi = [setting for setting in judged if not setting.labeled_only]
    base = max(labeled, key=_mean) if labeled and semi else judged[0]
    others = semi if labeled and semi else [setting for setting in judged if setting is not base]
    return base, sorted(others, key=lambda setting: (bool(beside_the_method(setting, base)), -_mean(setting)))


def _mean(setting: Setting) -> float:
    return setting.best.mean or 0.0


def _sentence(one: Setting, base: Setting, score: str) -> str:
    gain = _mean(one) - _mean(base)
    figures = f"{points(_mean(one))} against {points(_mean(base))}"
    if is_level(gain):
        return f"{one.label} and {base.label} are level at {points(_mean(one))} {score}"
    place = "ahead of" if gain > 0 else "behind"
    return f"{one.label} is {points(abs(gain))} points of {score} {place} {base.label} ({figures})"


def _unlike(one: Setting, base: Setting) -> list[str]:
    """Say what differs besides the method, or of settings of one method besides what their names say."""
    if one.runs[0].setting("method") == base.runs[0].setting("method"):
        keys = untold(one, base)
        return [f"More than that differs between them: {_some(keys)}."] if keys else []
    keys = beside_the_method(one, base)
    said = "Not the method alone differs between them, so this is not its merit or fault alone"
    return [f"{said}: {_some(keys)}."] if keys else []


def _some(keys: Sequence[str]) -> str:
    shown = ", ".join(sorted(keys, key=lambda key: not key.startswith("model."))[:_SHOWN])
    return f"{shown} and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else shown


def _worth(one: Setting, base: Setting, judged: Sequence[Setting]) -> str:
    """Say how much the seeds leave of a difference."""
    if min(len(one.best.values), len(base.best.values)) > 1:
        return _worth_of_seeds(one, base)
    known = [setting for setting in judged if setting.best.spread is not None]
    if not known:
        return (
            "One run of each proves little: how far the seed alone moves these figures is not known here. "
            "Repeat them with --seed 1 and --seed 2, and compare all together."
        )
    widest = max(known, key=lambda setting: setting.best.spread or 0.0)
    spread = widest.best.spread or 0.0
    seeds = f"the seed alone moves {widest.label} by ± {points(spread)} ({counted(len(widest.best.values), 'run')})"
    if abs(_mean(one) - _mean(base)) <= 2 * spread:
        return f"That proves little: {seeds}, and the difference is within twice that."
    return f"The difference is more than twice what seeds do: {seeds}. A single run against it is still a single run."


def _worth_of_seeds(one: Setting, base: Setting) -> str:
    better, worse = (one, base) if _mean(one) >= _mean(base) else (base, one)
    if min(better.best.values) > max(worse.best.values):
        counts = len(better.best.values), len(worse.best.values)
        chance = round(math.comb(sum(counts), counts[0]) / 2)
        return (
            f"Each of the {counts[0]} runs of {better.label} is ahead of each of the {counts[1]} of {worse.label}. "
            f"Were both equally good, one would be ahead like this about once in {chance} comparisons."
        )
    ranges = "; ".join(f"{setting.label} {_range(setting.best)}" for setting in (one, base))
    return f"That proves little: the runs overlap ({ranges}), so the difference is within the spread of the seeds."


def _range(figures: Figures) -> str:
    return f"{points(min(figures.values))} to {points(max(figures.values))}"
