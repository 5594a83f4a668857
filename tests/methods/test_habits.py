"""Thresholds by class and alignment, against the formulas written out in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from semiseg.methods.class_shares import LABELED, PSEUDO
from semiseg.methods.habits import CONFIDENCE, FLOOR, LIMIT, NAMED, ClassHabits, class_habits
from semiseg.methods.labels import PseudoLabel, Selection, opinion

K, CPU = 3, torch.device("cpu")


def shares(labeled: list[float], pseudo: list[float], named: list[float], confidence: list[float]) -> dict[str, Tensor]:
    values = {LABELED: labeled, PSEUDO: pseudo, NAMED: named, CONFIDENCE: confidence}
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def alone(tensor: Tensor) -> Tensor:
    return tensor


def test_a_chunk_tells_what_was_named_before_correction_and_how_sure_the_labels_are() -> None:
    label, before = torch.tensor([[[0, 0, 2, 1]]]), torch.tensor([[[0, 1, 2, 1]]])
    confidence, ignore = torch.tensor([[[0.8, 0.6, 0.5, 1.0]]]), torch.tensor([[[False, False, False, True]]])
    pseudo = PseudoLabel(label, confidence, ignore, before)
    found = class_habits(pseudo, torch.tensor(3), K)
    assert found[NAMED].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert found[CONFIDENCE].tolist() == pytest.approx([1.4 / 3, 0, 0.5 / 3], abs=1 / 255)
    uncorrected = class_habits(replace(pseudo, uncorrected_BHW=None), torch.tensor(3), K)
    assert uncorrected[NAMED].tolist() == pytest.approx([2 / 3, 0, 1 / 3])


def test_averages_are_of_all_steps_at_first_and_forget_later() -> None:
    habits, expected = ClassHabits(K, CPU), np.zeros(K)
    draws = np.random.default_rng(0).dirichlet(np.ones(K), size=250)
    for step, draw in enumerate(draws, start=1):
        habits.take(shares(draw.tolist(), [0.0] * K, [0.0] * K, [0.0] * K), alone)
        decay = min(1 - 1 / step, LIMIT)
        expected = decay * expected + (1 - decay) * draw
        if step == 50:
            assert habits.means_4K[0].tolist() == pytest.approx(draws[:50].mean(axis=0))
    assert habits.means_4K[0].tolist() == pytest.approx(expected)


def test_thresholds_fall_with_the_mean_confidence_of_a_class() -> None:
    habits = ClassHabits(K, CPU)
    assert habits.thresholds(0.9).tolist() == [0.9] * K
    habits.take(shares([0.5, 0.5, 0], [0.6, 0.4, 0], [0.6, 0.4, 0], [0.57, 0.19, 0]), alone)
    mean = np.array([0.57 / 0.6, 0.19 / 0.4])
    assert habits.thresholds(0.9).tolist() == pytest.approx([*(0.9 * mean / mean.max()), 0.9])
    pseudo = PseudoLabel(
        torch.tensor([[[0, 1, 2, 1]]]), torch.tensor([[[0.6, 0.6, 0.6, 0.4]]]), torch.zeros(1, 1, 4) > 0
    )
    assert Selection(habits.thresholds(0.9)).confident(pseudo).flatten().tolist() == [False, True, False, False]


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_probabilities_are_multiplied_by_labeled_over_named(strength: float) -> None:
    habits = ClassHabits(K, CPU)
    logits = torch.randn(2, K, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ignore = torch.zeros(2, 4, 5, dtype=torch.bool)
    plain, first = opinion(logits, ignore), opinion(logits, ignore, habits.correction(strength))
    assert torch.equal(plain.label_BHW, first.label_BHW), "nothing is known of classes before the first step"
    labeled, named = [0.7, 0.2, 0.1], [0.3, 0.7, 0.0]
    habits.take(shares(labeled, named, named, named), alone)
    probabilities = np.exp(logits.numpy())
    probabilities *= (((np.array(labeled) + FLOOR) / (np.array(named) + FLOOR)) ** strength)[:, None, None]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = opinion(logits, ignore, habits.correction(strength))
    np.testing.assert_allclose(found.confidence_BHW, probabilities.max(axis=1), rtol=1e-12)
    assert np.array_equal(found.label_BHW, probabilities.argmax(axis=1))
    assert found.uncorrected_BHW is not None
    assert torch.equal(found.uncorrected_BHW, plain.label_BHW)
    assert not torch.equal(found.label_BHW, plain.label_BHW)


def test_a_teacher_that_names_classes_as_often_as_labels_do_is_left_alone() -> None:
    habits = ClassHabits(K, CPU)
    habits.take(shares([0.7, 0.3, 0], [0.7, 0.3, 0], [0.7, 0.3, 0], [0.5, 0.1, 0]), alone)
    assert habits.correction(1.0).tolist() == [0, 0, 0]


def test_shares_of_processes_are_added_up_and_all_is_restored() -> None:
    whole, parts = ClassHabits(K, CPU), ClassHabits(K, CPU)
    mine, other = shares([0.4, 0.1, 0], [0.2, 0, 0], [0.2, 0, 0], [0.1, 0, 0]), shares(*[[0, 0, 0.5]] * 4)
    for _ in range(2):
        whole.take({name: mine[name] + other[name] for name in mine}, alone)
        parts.take(mine, lambda tensor: torch.cat((tensor, torch.stack([*other.values()])[None])))
    assert torch.equal(whole.means_4K, parts.means_4K)
    again = ClassHabits(K, CPU)
    again.restore(whole.state())
    assert (again.steps, again.means_4K.tolist()) == (2, whole.means_4K.tolist())
