"""The alarm: classes that a teacher no longer says, classes that trade places, and pseudo-labels unlike any label.

A teacher that has lost a class cannot teach it, and its student confirms it: so the shares of the classes among its
labels are held against their shares among the labeled pixels, which are cropped and scaled alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semiseg.engine.class_windows import ClassWindow
from semiseg.errors import some

Kind = Literal["vanished", "swapped", "distant", "silent"]

_FROM = 1 / 3
"""Part of a run after which it is judged: published runs are within 0.5 points of their end after 31 %. Before, a
random network has not learned every class: in the demo, which goes well, a class trades places until 28 %."""
_SEEN = 0.002
"""Least share of labeled pixels of a class that is missed; below it a few crops without it are chance."""
_LOST = 0.05
"""A class with less than this part of its labeled share has vanished from the pseudo-labels."""
_SUNK = 0.3
"""A class with less than this part of its labeled share may have been swapped for another one."""
_TRADED = 0.03
"""Least share of all pixels that has to go from one class to another."""
_ALIKE = 0.3
"""What one class gains and the other loses are equal up to this part."""
_DISTANCE = 0.3
"""Total variation distance from which on pseudo-labels are unlike the labels."""
_SILENT = 0.02
"""Below this share of confident pixels, next to nothing is learned from pseudo-labels."""

_LESS = (
    "try a lower --consistency.weight (0.3), a higher --consistency.threshold, pretrained weights, or labeled images "
    "that show more of these classes; `--method supervised` tells whether labels alone do better"
)
"""What helps where a teacher confirms its own mistakes."""


@dataclass(frozen=True)
class Alarm:
    """Something that is wrong with pseudo-labels.

    Attributes:
        kind: what.
        step: after which step it was seen first.
        text: what it means, with its figures, in a sentence.
        advice: what to try.
        lasts: whether it is still so in the newest window.
    """

    kind: Kind
    step: int
    text: str
    advice: str
    lasts: bool = True


def distance(one_K: NDArray[np.float64], other_K: NDArray[np.float64]) -> float:
    """Return the total variation distance of two histograms: the share of pixels that would have to change class."""
    return float(np.abs(one_K - other_K).sum() / 2)


def prior(windows: Sequence[ClassWindow]) -> NDArray[np.float64]:
    """Return the shares of the classes among the labeled pixels of all windows."""
    mean_K: NDArray[np.float64] = np.mean([window.labeled_K for window in windows], axis=0)
    return mean_K


def alarms(windows: Sequence[ClassWindow], classes: Sequence[str], steps: int) -> list[Alarm]:
    """Return what is wrong with the pseudo-labels of a run, each kind once, as it was first seen.

    It takes two windows in a row, so that the crops of one are no alarm.

    Args:
        windows: of the run so far, ascending in step.
        classes: their names.
        steps: length of the run.
    """
    found: dict[Kind, Alarm] = {}
    now: set[Kind] = set()
    for count, (before, window) in enumerate(pairwise(windows), start=2):
        if window.step < _FROM * steps:
            continue
        pseudo_K, confident_K = (before.pseudo_K + window.pseudo_K) / 2, (before.confident_K + window.confident_K) / 2
        seen = _Shares(tuple(classes), prior(windows[:count]), pseudo_K, float(confident_K.sum()))
        said = {kind: text for kind, (check, _) in _CHECKS.items() if (text := check(seen))}
        if not said.keys().isdisjoint(("vanished", "swapped")):
            said.pop("distant", None)  # which is what they say, with names
        now = set(said)
        for kind, text in said.items():
            found.setdefault(kind, Alarm(kind, window.step, text, _CHECKS[kind][1]))
    return [replace(alarm, lasts=alarm.kind in now) for alarm in found.values()]


@dataclass(frozen=True)
class _Shares:
    """What two windows tell: shares of the labeled pixels so far, of pseudo-labels, and of the confident ones."""

    classes: tuple[str, ...]
    prior_K: NDArray[np.float64]
    pseudo_K: NDArray[np.float64]
    confident: float

    def lost(self) -> list[int]:
        """Return the classes that have vanished."""
        shares = enumerate(zip(self.prior_K, self.pseudo_K, strict=True))
        return [k for k, (prior, pseudo) in shares if prior >= _SEEN and pseudo < _LOST * prior]


def _vanished(seen: _Shares) -> str | None:
    pairs = swaps(seen.prior_K, seen.pseudo_K)
    gained = {loser: f"; {seen.classes[winner]} gained as much" for loser, winner, _ in reversed(pairs)}
    named = [
        f"{seen.classes[k]} ({_percent(seen.prior_K[k])} of the labeled pixels, {_percent(seen.pseudo_K[k])} of the "
        f"pseudo-labels{gained.get(k, '')})"
        for k in seen.lost()
    ]
    return f"the teacher hardly says any more what masks show: {some(named)}" if named else None


def _swapped(seen: _Shares) -> str | None:
    pairs = [
        f"{seen.classes[loser]} has lost {_percent(share)} of all pixels and {seen.classes[winner]} gained as much"
        for loser, winner, share in swaps(seen.prior_K, seen.pseudo_K)
        if loser not in seen.lost()
    ]
    return f"the teacher seems to take one class for another: {some(pairs, 3)}" if pairs else None


def _distant(seen: _Shares) -> str | None:
    apart = distance(seen.prior_K, seen.pseudo_K)
    if apart <= _DISTANCE:
        return None
    return f"pseudo-labels are unlike the labels: {_percent(apart)} of the pixels would have to be of other classes"


def _silent(seen: _Shares) -> str | None:
    if seen.confident >= _SILENT:
        return None
    return (
        f"only {_percent(seen.confident)} of the pseudo-labels are confident enough to be learned: labels teach alone"
    )


_CHECKS: dict[Kind, tuple[Callable[[_Shares], str | None], str]] = {
    "vanished": (_vanished, _LESS),
    "swapped": (_swapped, _LESS),
    "distant": (_distant, f"if unlabeled images do not differ so much from the labeled ones, {_LESS}"),
    "silent": (_silent, "try a lower --consistency.threshold, or an encoder with pretrained weights"),
}
"""What is looked for, and what to try against it."""


def swaps(prior_K: NDArray[np.float64], pseudo_K: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """Return pairs of classes of which the second has gained what the first has lost, and how much, largest first."""
    gain_K = pseudo_K - prior_K
    losers = [k for k, gain in enumerate(gain_K) if -gain >= _TRADED and pseudo_K[k] < _SUNK * prior_K[k]]
    pairs = [
        (a, b, float(-gain_K[a]))
        for a in losers
        for b, gain in enumerate(gain_K)
        if gain > 0 and abs(gain + gain_K[a]) <= _ALIKE * -gain_K[a]
    ]
    return sorted(pairs, key=lambda pair: -pair[2])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
