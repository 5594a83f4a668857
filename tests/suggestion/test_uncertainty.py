"""The doubt of a model is that of the least sure pixels of each class, and what its student says otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from semiseg.api import recipe_config
from semiseg.suggestion.pool import find_pool
from semiseg.suggestion.uncertainty import Doubt, Seen, doubt_by_class, load_models


def test_the_top_five_percent_of_each_class_count_alone() -> None:
    classes_HW = np.zeros((40, 50), dtype=np.uint8)
    classes_HW[:, 30:] = 2
    margin_HW = np.full((40, 50), 0.9, dtype=np.float32)
    margin_HW[:2, :30] = 0.1  # 60 of 1200 pixels: 5 % of class 0
    found = doubt_by_class(Seen(classes_HW=classes_HW, confidence_HW=margin_HW, margin_HW=margin_HW), ("a", "b", "c"))
    assert found == {"a": pytest.approx(0.9), "c": pytest.approx(0.1)}


def test_a_few_stray_pixels_are_no_class() -> None:
    classes_HW = np.zeros((100, 100), dtype=np.uint8)
    classes_HW[0, :9] = 1
    margin_HW = np.where(classes_HW == 1, 0, 0.8).astype(np.float32)
    seen = Seen(classes_HW=classes_HW, confidence_HW=margin_HW, margin_HW=margin_HW)
    assert doubt_by_class(seen, ("a", "b")) == {"a": pytest.approx(0.2)}


def test_disagreement_adds_to_the_mean_over_classes() -> None:
    assert Doubt(classes={"a": 0.2, "b": 0.6}, disagreement=0.1).score == pytest.approx(0.5)
    assert Doubt(classes={"a": 0.2, "b": 0.6}, disagreement=None).score == pytest.approx(0.4)


def test_a_run_with_a_teacher_is_asked_with_its_student_and_without_checkpoints_alone(run: Path) -> None:
    sample = find_pool(recipe_config(str(run / "config.yaml")).data).unlabeled[0]
    seen, doubt = load_models(run, "cpu").look(sample.frames)
    assert seen.classes_HW.shape == (64, 64)
    assert (seen.margin_HW <= seen.confidence_HW).all()
    assert doubt.disagreement is not None
    assert 0 <= doubt.disagreement <= 1
    shutil.rmtree(run / "checkpoints")
    assert load_models(run, "cpu").look(sample.frames)[1].disagreement is None
