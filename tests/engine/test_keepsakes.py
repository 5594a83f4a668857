from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from semiseg.engine import keepsakes
from semiseg.engine.distributed import Processes
from semiseg.engine.keepsakes import Keepsakes, highest, lowest

ALONE = Processes(0, 1, torch.device("cpu"))


def test_of_equals_the_worst_come_first_and_the_best_last() -> None:
    iou = {0: 0.5, 1: 0.2, 2: 0.2, 3: 0.9, 4: 0.9}
    assert lowest(iou, 2) == [1, 2]
    assert highest(iou, 2) == [4, 3]
    assert lowest(iou, 0) == highest(iou, 0) == []


def said(keeps: Keepsakes, places: list[int], iou: list[float], size: tuple[int, int]) -> Tensor:
    """Let a batch be said, in blocks; of an image every pixel is of the class of its place."""
    label_BHW = torch.tensor(places)[:, None, None].expand(-1, *size)
    confidence_BHW = torch.rand(len(places), *size)
    keeps.begin(places)
    for rows in (slice(0, 3), slice(3, size[0])):
        for columns in (slice(0, 5), slice(5, size[1])):
            keeps.see(rows, columns, label_BHW[:, rows, columns], confidence_BHW[:, rows, columns])
    keeps.end(torch.tensor(iou))
    return confidence_BHW


def test_the_chosen_and_the_extremes_are_kept_and_no_more() -> None:
    keeps = Keepsakes([(4, 8)] * 6, chosen=[2], extremes=1)
    said(keeps, [0, 1, 2], [0.5, 0.9, math.nan], (4, 8))
    said(keeps, [3, 4], [0.1, 0.6], (4, 8))
    found = keeps.gathered([3, 1, 2], ALONE)
    assert {place: set(seen.label_HW.ravel().tolist()) for place, seen in found.items()} == {1: {1}, 2: {2}, 3: {3}}
    with pytest.raises(KeyError):
        keeps.kept(0)


def test_of_a_large_image_every_second_or_third_pixel_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepsakes, "_LONGEST", 4)
    for size, step in (((6, 8), 2), ((7, 13), 3)):
        keeps = Keepsakes([size], chosen=[0], extremes=0)
        confidence_1HW = said(keeps, [0], [math.nan], size)
        assert np.array_equal(keeps.kept(0).confidence_HW, confidence_1HW[0, ::step, ::step].numpy())


def test_whichever_process_has_it_all_get_it() -> None:
    class Two(Processes):
        """The first of two processes; the other one has what `others` says."""

        def sum(self, tensor: Tensor) -> Tensor:
            return tensor + others.pop(0)

    keeps = Keepsakes([(4, 8)] * 3, chosen=[0, 1], extremes=0)
    confidence_BHW = said(keeps, [0], [math.nan], (4, 8))
    others = [torch.zeros(2, 4, 8), torch.full((2, 4, 8), 1.0)]
    found = keeps.gathered([0, 1], Two(0, 2, torch.device("cpu")))
    assert np.array_equal(found[0].confidence_HW, confidence_BHW[0].numpy())
    assert set(found[1].label_HW.ravel().tolist()) == {1}
