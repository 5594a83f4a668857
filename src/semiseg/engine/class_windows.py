"""Shares of the classes among labels and pseudo-labels, window by window of a training: `pseudo_labels.csv`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.methods.class_shares import CONFIDENT, LABELED, PSEUDO

HEADER = ("step", "class", LABELED, PSEUDO, CONFIDENT)
_WINDOWS = 50
"""A run has about so many: each holds many crops, and an alarm comes within a few percent of the run."""
_MOST_CLASSES = 65536


@dataclass(frozen=True)
class ClassWindow:
    """What was learned from in some steps, class by class.

    Attributes:
        step: the last of them.
        labeled_K: shares of the classes among labeled pixels, 0 to 1.
        pseudo_K: the same among the teacher's labels of weak pixels, sure or not.
        confident_K: the part of all weak pixels that is of the class and confident: at most `pseudo_K`.
    """

    step: int
    labeled_K: NDArray[np.float64]
    pseudo_K: NDArray[np.float64]
    confident_K: NDArray[np.float64]

    @classmethod
    def of(cls, step: int, shares: Mapping[str, NDArray[np.float64]]) -> ClassWindow:
        """Take what a method has logged of classes."""
        return cls(step, shares[LABELED], shares[PSEUDO], shares[CONFIDENT])

    def rows(self, classes: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the rows of the file: a class is its id and its name, so no spreadsheet takes a name for a formula."""
        names = (f"{index} {name}" for index, name in enumerate(classes))
        shares = zip(self.labeled_K, self.pseudo_K, self.confident_K, strict=True)
        return [
            (str(self.step), name, *(f"{share:.8g}" for share in found))
            for name, found in zip(names, shares, strict=True)
        ]


def window_is_full(seen: int, steps: int, *, last: bool) -> bool:
    """Whether a window of so many steps, of a run of `steps`, is to be written; the last may be half as long."""
    length = max(1, steps // _WINDOWS)
    return seen > 0 and (2 * seen if last else seen) >= length


def read_windows(path: Path) -> tuple[list[str], list[ClassWindow]]:
    """Read the classes and windows of a run, ascending in step.

    Rows that are no shares, and windows that have not a row for each class, as a run may be writing one, are left out.
    """
    if not path.is_file():
        return [], []
    names: dict[int, str] = {}
    found: dict[int, dict[int, tuple[float, ...]]] = {}
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.reader(file):
            try:
                place, shares = _row(row)
            except ValueError:
                continue
            step, index, name = place
            names.setdefault(index, name)
            found.setdefault(step, {})[index] = shares
    classes = [names.get(index, "") for index in range(len(names))]
    whole = ((step, rows) for step, rows in sorted(found.items()) if rows.keys() == set(range(len(classes))))
    return classes, [
        ClassWindow(step, *np.array([rows[index] for index in range(len(classes))]).T) for step, rows in whole
    ]


def _row(row: Sequence[str]) -> tuple[tuple[int, int, str], tuple[float, ...]]:
    """Return step, class and its name, and the shares.

    Raises:
        ValueError: it is no such row.
    """
    step, label, *words = row
    index, _, name = label.partition(" ")
    shares = tuple(map(float, words))
    if len(shares) != len(HEADER) - 2 or not all(0 <= share <= 1.001 for share in shares):
        raise ValueError("no shares")
    if int(step) < 0 or not 0 <= int(index) < _MOST_CLASSES:
        raise ValueError("no step or class")
    return (int(step), int(index), name), shares
