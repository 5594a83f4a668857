from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from semiseg.api import TrainedRun
from semiseg.engine.class_windows import ClassWindow, read_windows
from semiseg.engine.collapse import alarms, distance, swaps

CLASSES = ("road", "car", "tree")
LABELS = (0.6, 0.1, 0.3)


def run(*pseudo: Sequence[float], confident: float = 0.8) -> list[ClassWindow]:
    """Return windows of 10 steps."""
    return [
        ClassWindow(10 * place, np.array(LABELS), np.array(shares), confident * np.array(shares))
        for place, shares in enumerate(pseudo, start=1)
    ]


def test_pseudo_labels_like_the_labels_are_no_alarm() -> None:
    alike = [(0.55, 0.08, 0.37), (0.65, 0.05, 0.3)] * 5
    assert alarms(run(*alike), CLASSES, steps=100) == []


def test_a_class_that_vanished_is_named_once_with_its_figures() -> None:
    (alarm,) = alarms(run(*[LABELS] * 5, *[(0.69, 0.001, 0.309)] * 5), CLASSES, steps=100)
    assert (alarm.kind, alarm.step, alarm.lasts) == ("vanished", 70, True)
    assert "car (10 % of the labeled pixels, 0.1 % of the pseudo-labels; road gained as much)" in alarm.text
    assert "--consistency.weight" in alarm.advice


def test_what_heals_no_longer_lasts() -> None:
    windows = run(*[LABELS] * 3, *[(0.69, 0.001, 0.309)] * 3, *[LABELS] * 3)
    assert [alarm.lasts for alarm in alarms(windows, CLASSES, steps=90)] == [False]


def test_the_beginning_and_a_single_window_are_no_alarm() -> None:
    odd = (1.0, 0.0, 0.0)
    assert alarms(run(odd, *[LABELS] * 9), CLASSES, steps=100) == []
    assert alarms(run(*[LABELS] * 5, odd, *[LABELS] * 4), CLASSES, steps=100) == []


def test_a_class_that_no_mask_shows_cannot_vanish() -> None:
    windows = run(*[(0.65, 0.1, 0.25)] * 4)
    for window in windows:
        window.labeled_K[:] = (0.7, 0.0, 0.3)
        window.pseudo_K[:] = (0.7, 0.0, 0.3)
    assert alarms(windows, CLASSES, steps=40) == []


def test_a_pair_that_trades_places_is_named() -> None:
    pairs = swaps(np.array([0.3, 0.2, 0.5]), np.array([0.05, 0.43, 0.52]))
    assert [(loser, winner) for loser, winner, _ in pairs] == [(0, 1)]
    (alarm,) = alarms(run(*[(0.6, 0.35, 0.05)] * 4), CLASSES, steps=40)
    assert alarm.kind == "swapped"
    assert "tree has lost 25 % of all pixels and car gained as much" in alarm.text


def test_a_teacher_that_is_never_sure_is_said_to_teach_nothing() -> None:
    (alarm,) = alarms(run(*[LABELS] * 4, confident=0.001), CLASSES, steps=40)
    assert alarm.kind == "silent"
    assert "threshold" in alarm.advice


def test_the_distance_is_the_part_that_would_have_to_change() -> None:
    assert distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1
    assert distance(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(0.25)
    (alarm,) = alarms(run(*[(0.24, 0.3, 0.46)] * 4), CLASSES, steps=40)
    assert alarm.kind == "distant"


def test_a_run_that_collapses_warns_once_and_says_what_to_try(train_tiny: Callable[..., TrainedRun]) -> None:
    """Learning every label of a random teacher 50 times as much as the masks makes it say one class everywhere."""
    collapse = ("--consistency.threshold", "0", "--consistency.weight", "50", "--optimizer.lr", "5e-3")
    run = train_tiny("collapsed", *collapse, "--schedule.steps", "20")
    log = (run.path / "train.log").read_text()
    assert log.count("WARNING") == 1
    assert "the teacher hardly says any more what masks show" in log
    assert "--consistency.weight" in log
    _, windows = read_windows(run.path / "pseudo_labels.csv")
    assert len(windows) == 20
    assert windows[-1].pseudo_K.max() > 0.95
