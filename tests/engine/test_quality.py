from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from semiseg.engine.distributed import Processes
from semiseg.engine.evaluation import count_confusion
from semiseg.engine.inference import Block
from semiseg.engine.quality import BINS, Quality, QualityCounts

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)


def counted(probability_BKHW: Tensor, truth_BHW: Tensor, other_BHW: Tensor | None = None, **facts: float) -> Quality:
    """Count one batch of one block, as an evaluation does; `other_BHW` is what the student said."""
    classes = probability_BKHW.shape[1]
    counts = QualityCounts(
        len(truth_BHW), classes, threshold=facts.get("threshold", 0.95), ignore_value=255, device=CPU
    )
    counts.begin(range(len(truth_BHW)))
    said_BHW = probability_BKHW.argmax(dim=1)
    confusion_BKK = count_confusion(truth_BHW, said_BHW, classes, 255)
    if other_BHW is not None:
        counts.compare(0, other_BHW, truth_BHW)
    counts.compare(0, said_BHW, truth_BHW)
    counts.see(Block(slice(None), slice(None), probability_BKHW.log(), True), said_BHW, truth_BHW, confusion_BKK)
    counts.end()
    return counts.result(ALONE)


def two_classes(*foreground: float) -> Tensor:
    """Return the probabilities of one image of two classes, one row of pixels."""
    ones = torch.tensor(foreground)
    return torch.stack((1 - ones, ones))[None, :, None]


def mask(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8)[None, None]


def test_calibration_is_the_gap_between_confidence_and_accuracy() -> None:
    # 4 pixels of confidence 0.9, of which 2 are right; one is ignored.
    found = counted(two_classes(0.9, 0.9, 0.1, 0.1, 0.99), mask(1, 0, 0, 1, 255))
    assert found.pixels_B.sum() == 4
    assert found.right_B.sum() == 2
    assert found.ece == pytest.approx(0.4, abs=1e-4)
    assert found.pixels_B[int(0.9 * BINS)] == 4


def test_a_perfect_model_is_calibrated_and_a_confident_liar_is_not() -> None:
    right, wrong = mask(1, 1, 0), mask(0, 0, 1)
    assert counted(two_classes(1.0, 1.0, 0.0), right).ece == pytest.approx(0, abs=1e-4)
    assert counted(two_classes(1.0, 1.0, 0.0), wrong).ece == pytest.approx(1, abs=1e-4)


def test_the_kept_set_is_what_a_pseudo_label_would_keep() -> None:
    found = counted(two_classes(0.96, 0.97, 0.6, 0.01), mask(1, 0, 1, 0), threshold=0.95)
    assert found.kept == pytest.approx(3 / 4)
    assert found.kept_right == pytest.approx(2 / 3)
    assert (found.kept_K.tolist(), found.kept_right_K.tolist()) == ([1, 2], [1, 1])


def test_predicted_quality_is_the_soft_dice_of_confidence() -> None:
    found = counted(two_classes(0.9, 0.8, 0.3), mask(1, 1, 1))
    # Class 1: said of the first two pixels; sum p y = 1.7, sum p = 2.0, sum y = 2.
    assert found.predicted_K[1] == pytest.approx(2 * 1.7 / 4.0, abs=1e-6)
    assert found.predicted_K[0] == pytest.approx(2 * 0.7 / 2.0, abs=1e-6)
    predicted, iou, accuracy = found.images_N3[0]
    assert predicted == pytest.approx(found.predicted_K.mean())
    assert iou == pytest.approx((0 + 2 / 3) / 2)
    assert accuracy == pytest.approx(2 / 3)


def test_a_class_that_is_never_said_has_no_predicted_quality() -> None:
    assert counted(two_classes(0.1, 0.2), mask(0, 0)).predicted_K[1] == 0


def test_student_and_teacher_disagree_on_valid_pixels() -> None:
    probability, truth = two_classes(0.9, 0.9, 0.1, 0.1), mask(1, 1, 0, 255)
    assert counted(probability, truth).disagreement is None
    assert counted(probability, truth, torch.tensor([[[1, 0, 0, 1]]])).disagreement == pytest.approx(1 / 3)


def test_images_without_a_valid_pixel_are_left_out_and_ranks_compare_the_others() -> None:
    probability = torch.cat([two_classes(p, p) for p in (0.99, 0.8, 0.6, 0.9)])
    truth = torch.cat([mask(1, 1), mask(1, 0), mask(0, 0), mask(255, 255)])
    found = counted(probability, truth)
    assert np.isnan(found.images_N3[3]).all()
    assert found.rank_agreement == pytest.approx(1)
    content = found.as_json(("a", "b"), ("i", "j", "k", "l"))
    assert [image["id"] for image in content["images"]] == ["i", "j", "k"]
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_nothing_valid_at_all_is_no_error() -> None:
    found = counted(two_classes(0.9), mask(255))
    assert (found.ece, found.kept, found.kept_right, found.rank_agreement) == (0, 0, 0, None)
