from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from semiseg.augment import StrongViewConfig, draw_view, stack_views
from semiseg.data import Batch, Labeled, PixelCounts, Place, Unlabeled


def batch(*, unlabeled: bool = True) -> Batch:
    def images(start: int) -> Tensor:
        return (torch.arange(2 * 1 * 4 * 5 * 3) + start).to(torch.uint8).view(2, 1, 4, 5, 3)

    view = stack_views([draw_view(np.random.default_rng(index), 1, 4, StrongViewConfig()) for index in range(2)])
    return Batch(
        place=Place(3, 7, 9, 3, 4, 2, torch.tensor([0, 3])),
        labeled=Labeled(images(0), torch.full((2, 4, 5), 255, dtype=torch.uint8)),
        unlabeled=Unlabeled(images(9), torch.zeros(2, 4, 5, dtype=torch.bool), (view, view)) if unlabeled else None,
        pixels=PixelCounts.unstacked(torch.arange(4, dtype=torch.float64)),
        ids=("a", "b", "c", "d"),
    )


def tensors(batch: Batch) -> Iterator[Tensor]:
    yield from (batch.labeled.images_BTHWC, batch.labeled.mask_BHW, batch.pixels.stacked())
    if batch.unlabeled:
        yield from (batch.unlabeled.images_BTHWC, batch.unlabeled.ignore_BHW)
        for view in batch.unlabeled.views:
            yield from (view.box_B4, view.photometric.order, view.photometric.factors)


def test_images_with_channels_first_are_a_view_of_the_same_memory() -> None:
    part = batch().labeled
    assert part.images_BTCHW.shape == (2, 1, 3, 4, 5)
    assert part.images_BTCHW.data_ptr() == part.images_BTHWC.data_ptr()
    assert torch.equal(part.images_BTCHW[1, 0, 2], part.images_BTHWC[1, 0, :, :, 2])
    assert part.images_BTCHW[:, 0].is_contiguous(memory_format=torch.channels_last)
    unlabeled = batch().unlabeled
    assert unlabeled is not None
    assert torch.equal(unlabeled.images_BTCHW[1, 0, 2], unlabeled.images_BTHWC[1, 0, :, :, 2])


@pytest.mark.parametrize("views", [0, 1, 2])
def test_counts_travel_as_one_vector(views: int) -> None:
    vector = torch.arange(2 + views, dtype=torch.float64) + 5
    counts = PixelCounts.unstacked(vector)
    assert (counts.labeled.item(), counts.weak.item()) == (5, 6)
    assert counts.views.tolist() == [7 + view for view in range(views)]
    assert torch.equal(counts.stacked(), vector)


@pytest.mark.parametrize("unlabeled", [False, True])
def test_moving_a_batch_changes_nothing_but_the_device(unlabeled: bool) -> None:
    original = batch(unlabeled=unlabeled)
    moved = original.to(torch.device("cpu"))
    assert (moved.unlabeled is None) == (not unlabeled)
    assert (moved.ids, moved.place) == (original.ids, original.place)
    for before, after in zip(tensors(original), tensors(moved), strict=True):
        assert before.dtype == after.dtype
        assert torch.equal(before, after)


@pytest.mark.parametrize("unlabeled", [False, True])
def test_every_tensor_of_a_batch_goes_to_the_device(unlabeled: bool) -> None:
    moved = batch(unlabeled=unlabeled).to(torch.device("meta"))
    assert {tensor.device.type for tensor in tensors(moved)} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_every_tensor_of_a_batch_is_pinned() -> None:
    assert all(tensor.is_pinned() for tensor in tensors(batch().pin_memory()))
