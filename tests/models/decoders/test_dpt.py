from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from semiseg.models.decoders.dpt import DPT, FusionBlock, change_stride
from semiseg.models.layers import resize_bilinear


@pytest.fixture
def dpt() -> DPT:
    torch.manual_seed(0)
    return DPT(widths=(12,) * 4, strides=(16,) * 4, features=10, level_widths=(4, 6, 8, 14), num_classes=3)


@pytest.mark.parametrize("grid", [(4, 4), (3, 7), (1, 1)])
def test_logits_have_eight_times_the_grid(dpt: DPT, grid: tuple[int, int]) -> None:
    assert dpt([torch.randn(2, 12, *grid)] * 4).shape == (2, 3, 8 * grid[0], 8 * grid[1])


def test_a_pyramid_is_taken_as_it_is() -> None:
    widths = (6, 9, 7, 8)
    dpt = DPT(widths, strides=(4, 8, 16, 32), features=10, level_widths=(4, 6, 8, 14), num_classes=3)
    assert not [name for name, _ in dpt.named_parameters() if name.startswith("resize")]
    sides = [(33, 18), (17, 9), (9, 5), (5, 3)]
    levels = [torch.randn(2, width, *side) for width, side in zip(widths, sides, strict=True)]
    assert dpt(levels).shape == (2, 3, 66, 36)


def test_levels_that_are_too_coarse_or_too_fine_are_brought_to_their_stride() -> None:
    dpt = DPT((6,) * 4, strides=(4, 8, 16, 16), features=10, level_widths=(4, 6, 8, 14), num_classes=3)
    assert {name.split(".")[1] for name, _ in dpt.named_parameters() if name.startswith("resize")} == {"3"}
    x = torch.randn(1, 5, 6, 8)
    for factor, size in ((4, (24, 32)), (2, (12, 16)), (1, (6, 8)), (0.5, (3, 4))):
        assert change_stride(5, factor)(x).shape == (1, 5, *size)


@pytest.mark.parametrize("level", range(4))
def test_every_level_matters(dpt: DPT, level: int) -> None:
    levels = [torch.randn(1, 12, 4, 4) for _ in range(4)]
    before = dpt(levels)
    levels[level] = levels[level] + 1
    assert not torch.allclose(dpt(levels), before)


def test_the_1x1_before_the_upsampling_equals_the_published_order() -> None:
    block = FusionBlock(6)
    path, skip = torch.randn(2, 6, 5, 4), torch.randn(2, 6, 5, 4)
    published = block.out(resize_bilinear(block.merge(path + block.skip(skip)), (9, 8)))
    torch.testing.assert_close(block(path, skip, (9, 8)), published, rtol=1e-5, atol=1e-5)


def test_resizing_aligns_the_corners() -> None:
    x = torch.randn(1, 2, 3, 4)
    enlarged = resize_bilinear(x, (9, 11))
    torch.testing.assert_close(enlarged[..., ::8, ::10], x[..., ::2, ::3])
    torch.testing.assert_close(resize_bilinear(x, (3, 4)), F.interpolate(x, (3, 4), mode="bilinear"))


def test_the_input_is_not_changed(dpt: DPT) -> None:
    levels = [torch.randn(1, 12, 4, 4) for _ in range(4)]
    copies = [level.clone() for level in levels]
    dpt(levels)
    assert all(torch.equal(level, copy) for level, copy in zip(levels, copies, strict=True))


def test_the_unused_skip_unit_of_the_deepest_block_is_there_and_does_not_train(dpt: DPT) -> None:
    frozen = {name for name, p in dpt.named_parameters() if not p.requires_grad}
    assert frozen == {f"fuse.3.skip.{conv}.{kind}" for conv in ("conv1", "conv2") for kind in ("weight", "bias")}
