from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from semiseg.engine.class_windows import HEADER, ClassWindow, read_windows, window_is_full

NAMES = ["sky", "=cmd()"]


def window(step: int) -> ClassWindow:
    return ClassWindow(step, np.array([0.25, 0.75]), np.array([0.5, 0.5]), np.array([0.125, 0.5]))


def write(path: Path, *rows: tuple[object, ...]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])


def test_windows_come_back_and_no_name_is_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "pseudo_labels.csv"
    write(path, *window(10).rows(NAMES), *window(20).rows(NAMES))
    assert not any(cell.startswith("=") for line in path.read_text().splitlines() for cell in line.split(","))
    classes, windows = read_windows(path)
    assert classes == NAMES
    assert [found.step for found in windows] == [10, 20]
    for name in ("labeled_K", "pseudo_K", "confident_K"):
        assert np.array_equal(getattr(windows[1], name), getattr(window(20), name))


def test_what_is_half_written_or_no_share_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "pseudo_labels.csv"
    strange = [(30, "0 sky", "nan", 0, 0), (30, "9999999999 sky", 0, 0, 0), ("x",), (-1, "0 sky", 0, 0, 0)]
    write(path, *window(10).rows(NAMES), *strange, (20, "0 sky", 0.5, 0.5, 0.1))
    assert [found.step for found in read_windows(path)[1]] == [10]
    assert read_windows(tmp_path / "missing.csv") == ([], [])


@pytest.mark.parametrize(
    ("seen", "steps", "last", "full"),
    [(9, 500, False, False), (10, 500, False, True), (4, 500, True, False), (5, 500, True, True), (1, 3, False, True)],
)
def test_a_run_has_about_fifty_windows(seen: int, steps: int, last: bool, full: bool) -> None:
    assert window_is_full(seen, steps, last=last) == full
    assert not window_is_full(0, steps, last=last)
