"""Scores at another size: strips of them are the whole, and the whole is what interpolation gives."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from semiseg.engine.inference import Block
from semiseg.engine.resizing import resized

SIDE = st.integers(1, 40)


def cut(scores_BKHW: Tensor, rows: list[int], columns: list[int], *, are_logits: bool) -> list[Block]:
    return [
        Block(slice(top, bottom), slice(left, right), scores_BKHW[..., top:bottom, left:right].clone(), are_logits)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def whole(blocks: list[Block], size: tuple[int, int]) -> Tensor:
    """Return the scores of blocks that cover every pixel once."""
    found, seen = torch.zeros(1, 3, *size), torch.zeros(size)
    for block in blocks:
        found[..., block.rows, block.columns] = block.scores_BKHW
        seen[block.rows, block.columns] += 1
    assert (seen == 1).all()
    return found


@given(SIDE, SIDE, st.integers(1, 90), st.integers(1, 90), st.data())
def test_it_is_bilinear_interpolation_however_the_blocks_and_strips_lie(
    height: int, width: int, tall: int, wide: int, data: st.DataObject
) -> None:
    torch.manual_seed(height * width)
    scores_1KHW = torch.randn(1, 3, height, width)
    rows = sorted({0, height, *data.draw(st.lists(st.integers(0, height), max_size=4))})
    columns = sorted({0, width, *data.draw(st.lists(st.integers(0, width), max_size=3))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semiseg.engine.resizing._STRIP", data.draw(st.integers(1, 9)) * 12 * wide)
        blocks = list(resized(cut(scores_1KHW, rows, columns, are_logits=True), (height, width), (tall, wide)))
    assert all(block.are_logits for block in blocks)
    wanted = F.interpolate(scores_1KHW, size=(tall, wide), mode="bilinear", align_corners=False)
    torch.testing.assert_close(whole(blocks, (tall, wide)), wanted, atol=1e-4, rtol=0)


def test_scores_that_are_no_logits_become_probabilities_first() -> None:
    torch.manual_seed(0)
    weighed = torch.rand(1, 3, 8, 8) * torch.rand(1, 1, 8, 8)
    blocks = list(resized(cut(weighed, [0, 3, 8], [0, 8], are_logits=False), (8, 8), (16, 20)))
    wanted = F.interpolate(weighed / weighed.sum(1, keepdim=True), size=(16, 20), mode="bilinear", align_corners=False)
    torch.testing.assert_close(whole(blocks, (16, 20)), wanted)
    assert not any(block.are_logits for block in blocks)


def test_a_photograph_is_held_in_strips(
    peak_bytes: Callable[[Callable[[], object]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiseg.engine.resizing._STRIP", 2**18)
    scores_1KHW = torch.randn(1, 3, 90, 120)
    [block] = cut(scores_1KHW, [0, 90], [0, 120], are_logits=True)

    def run() -> None:
        for _ in resized([block], (90, 120), (900, 1200)):
            pass

    assert peak_bytes(run) < 5 * 2**18 < 4 * 3 * 900 * 1200 / 6
