from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.data import Batch, Labeled, PixelCounts, Place
from semiseg.methods.losses import LossConfig, labeled_loss, ohem_loss


def batch_of(mask_BHW: Tensor, count: int, chunks: int = 1) -> Batch:
    size = len(mask_BHW)
    images = torch.zeros(size, 1, *mask_BHW.shape[1:], 3, dtype=torch.uint8)
    pixels = PixelCounts(torch.tensor(float(count)), torch.zeros(()), torch.zeros(0))
    return Batch(Place(0, 0, 1, 1, 0, chunks, torch.zeros(0)), Labeled(images, mask_BHW), None, pixels, ids=())


def some(size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 4, (size, 6, 6), generator=generator)
    return torch.randn(size, 3, 6, 6, generator=generator), mask.masked_fill(mask == 3, 255).to(torch.uint8)


def test_cross_entropy_is_the_mean_over_valid_pixels() -> None:
    logits, mask = some()
    loss = labeled_loss(logits, batch_of(mask, int((mask != 255).sum())), LossConfig(), 255)
    torch.testing.assert_close(loss, F.cross_entropy(logits, mask.long(), ignore_index=255))


def test_shares_of_chunks_add_up_to_the_loss_of_the_whole() -> None:
    logits, mask = some()
    mask[0] = 255  # very unequal chunks
    count = int((mask != 255).sum())
    whole = labeled_loss(logits, batch_of(mask, count), LossConfig(), 255)
    parts = [labeled_loss(logits[i : i + 2], batch_of(mask[i : i + 2], count, 2), LossConfig(), 255) for i in (0, 2)]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["ce", "ohem"])
def test_only_ignored_pixels_give_zero_loss_and_zero_gradient(kind: str, dtype: torch.dtype) -> None:
    logits = torch.randn(2, 3, 4, 4, dtype=dtype, requires_grad=True)
    mask = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    config = LossConfig(labeled=kind)  # type: ignore[arg-type]
    loss = labeled_loss(logits, batch_of(mask, 0), config, 255)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_ohem_of_chunks_is_their_mean() -> None:
    logits, mask = some()
    config = replace(LossConfig(), labeled="ohem", ohem_min_kept=10)
    parts = [labeled_loss(logits[i : i + 2], batch_of(mask[i : i + 2], 1, 2), config, 255) for i in (0, 2)]
    expected = sum(ohem_loss(logits[i : i + 2], mask[i : i + 2].long(), config, 255) for i in (0, 2)) / 2
    torch.testing.assert_close(sum(parts), expected)


def test_ohem_keeps_the_hardest_pixels() -> None:
    # One class is right with probability 0.9, 0.8, ..., so which pixels are kept is plain to see.
    probability = torch.tensor([[[0.9, 0.8, 0.6, 0.5]]])
    logits = torch.stack((probability.log(), (1 - probability).log()), dim=1)
    mask = torch.zeros(1, 1, 4, dtype=torch.int64)
    config = LossConfig(labeled="ohem", ohem_threshold=0.55, ohem_min_kept=1)
    torch.testing.assert_close(ohem_loss(logits, mask, config, 255), -torch.tensor(0.5).log())
    more = replace(config, ohem_min_kept=3)
    torch.testing.assert_close(ohem_loss(logits, mask, more, 255), -torch.tensor([0.8, 0.6, 0.5]).log().mean())


def test_ohem_keeps_as_many_pixels_of_each_image_whatever_the_batch() -> None:
    logits, mask = some()
    config = LossConfig(labeled="ohem", ohem_threshold=0.0, ohem_min_kept=3)
    single = ohem_loss(logits[:1], mask[:1].long(), config, 255)
    twice = ohem_loss(logits[:1].repeat(4, 1, 1, 1), mask[:1].long().repeat(4, 1, 1), config, 255)
    torch.testing.assert_close(twice, single)
