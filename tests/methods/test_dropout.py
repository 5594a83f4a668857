from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from semiseg.data import Place
from semiseg.methods.dropout import channel_masks, drop_features, drop_levels, with_dropped_copy

CPU = torch.device("cpu")
PLACE = Place(seed=3, step=7, steps=10, steps_per_epoch=5, batch=9, chunks=1, positions_B=torch.arange(9))


def test_complementary_masks_fill_each_other_up() -> None:
    first, second = channel_masks("complementary", PLACE, 400, 2, CPU)
    assert torch.equal(first + second, torch.full((9, 400), 2.0))
    dropped = (first != 1).any(dim=1)
    assert set(first[dropped].unique().tolist()) == {0.0, 2.0}
    assert first[dropped].mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
@pytest.mark.parametrize("kind", ["complementary", "random"])
def test_half_of_the_pairs_rounded_down_is_untouched_in_both_views(kind: Any, batch: int) -> None:
    place = replace(PLACE, batch=batch, positions_B=torch.arange(batch))
    first, second = channel_masks(kind, place, 64, 2, CPU)
    untouched = (first == 1).all(dim=1)
    assert untouched.sum() == batch // 2
    assert torch.equal(untouched, (second == 1).all(dim=1))


def test_which_pairs_are_untouched_varies() -> None:
    chosen = {
        tuple((channel_masks("complementary", replace(PLACE, step=step), 64, 2, CPU)[0] == 1).all(1).tolist())
        for step in range(20)
    }
    assert len(chosen) > 5


def test_random_masks_are_drawn_for_each_view() -> None:
    first, second = channel_masks("random", PLACE, 400, 2, CPU)
    dropped = (first != 1).any(dim=1)
    agreement = (first[dropped] == second[dropped]).float().mean().item()
    assert agreement == pytest.approx(0.5, abs=0.1)


def test_no_dropout() -> None:
    assert channel_masks("none", PLACE, 8, 2, CPU) == [None, None]


def test_draws_do_not_depend_on_how_the_batch_is_divided() -> None:
    whole = channel_masks("complementary", PLACE, 16, 2, CPU)
    part = channel_masks("complementary", replace(PLACE, positions_B=torch.tensor([1, 4, 7])), 16, 2, CPU)
    for all_masks, some in zip(whole, part, strict=True):
        assert torch.equal(all_masks[[1, 4, 7]], some)


def test_the_same_channels_of_all_levels_are_dropped_and_a_narrower_level_takes_the_first() -> None:
    keep_BD = torch.tensor([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    wide, narrow = drop_levels(keep_BD)([torch.ones(2, 3, 2, 2), torch.ones(2, 2, 4, 4, dtype=torch.bfloat16)])
    assert wide[:, :, 0, 0].tolist() == keep_BD.tolist()
    assert narrow[:, :, 1, 1].tolist() == keep_BD[:, :2].tolist()
    assert narrow.dtype == torch.bfloat16


def test_features_are_dropped_by_sample_and_channel() -> None:
    keep_BF = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    assert drop_features(keep_BF)(torch.ones(2, 2, 3, 3))[:, :, 2, 0].tolist() == keep_BF.tolist()


def ones(batch: int) -> list[torch.Tensor]:
    return [torch.ones(batch, width, 2, 2) for width in (64, 200)]


def test_a_dropped_copy_follows_the_batch_itself() -> None:
    levels = with_dropped_copy(PLACE)(ones(18))
    for level in levels:
        assert torch.equal(level[:18], torch.ones_like(level[:18]))
        dropped = level[18:]
        assert set(dropped.unique().tolist()) == {0.0, 2.0}
        assert torch.equal(dropped.amin(dim=(2, 3)), dropped.amax(dim=(2, 3))), "whole channels"
        assert dropped.mean().item() == pytest.approx(1, abs=0.1)
    first, second = (level[18:, :64, 0, 0] for level in levels)
    assert not torch.equal(first, second), "each level has its own draw"
    assert len({tuple(row.tolist()) for row in first}) == 18, "each image has its own draw"


def test_dropped_copies_do_not_depend_on_how_the_batch_is_divided_and_vary_by_step() -> None:
    whole = with_dropped_copy(PLACE)(ones(18))[1][18:]
    part = replace(PLACE, chunks=3, positions_B=torch.tensor([2, 5, 7]))
    assert torch.equal(with_dropped_copy(part)(ones(6))[1][6:], whole[[2, 5, 7, 11, 14, 16]])
    assert not torch.equal(with_dropped_copy(replace(PLACE, step=8))(ones(18))[1][18:], whole)


def test_dropped_copies_have_the_precision_and_the_gradient_of_the_level() -> None:
    level = torch.ones(18, 8, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    (doubled,) = with_dropped_copy(PLACE)([level])
    assert doubled.dtype == torch.bfloat16
    doubled[18:].sum().backward()
    assert torch.equal(level.grad, doubled[18:])
