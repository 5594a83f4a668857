from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semiseg.engine.tiles import blend, spans

sides, tiles, patches = st.integers(1, 300), st.integers(8, 70), st.integers(1, 8)


@pytest.mark.parametrize(
    ("side", "tile", "patch", "starts", "length"),
    [
        (60, 64, 14, [0], 60),  # small: whole, also if no multiple of the patch
        (64, 64, 14, [0], 64),
        (65, 64, 14, [0, 9], 56),
        (98, 64, 14, [0, 42], 56),  # exactly a quarter of overlap
        (99, 64, 14, [0, 21, 43], 56),
        (4000, 1024, 14, [0, 744, 1489, 2233, 2978], 1022),
    ],
)
def test_tiles_are_spread_from_border_to_border(
    side: int, tile: int, patch: int, starts: list[int], length: int
) -> None:
    found = spans(side, tile, patch)
    assert [span.start for span in found] == starts
    assert {len(span.weights) for span in found} == {length}


@given(side=sides, tile=tiles, patch=patches)
def test_tiles_cover_every_pixel_with_weights_that_sum_to_one(side: int, tile: int, patch: int) -> None:
    found = spans(side, tile, patch)
    total = torch.zeros(side)
    for span in found:
        total[span.covered] += span.weights
        assert span.weights.min() > 0
    torch.testing.assert_close(total, torch.ones(side))
    done = [pixel for span in found for pixel in range(side)[span.done]]
    assert done == list(range(side)), "each pixel is finished by one tile, in order"


@given(side=sides, tile=tiles, patch=patches)
def test_tiles_are_multiples_of_the_patch_and_overlap_by_a_quarter(side: int, tile: int, patch: int) -> None:
    found = spans(side, tile, patch)
    length = len(found[0].weights)
    assert length <= tile
    if len(found) > 1:
        assert side > tile
        assert length % patch == 0
        for span, following in pairwise(found):
            assert span.start < following.start, "no tile is predicted twice"
            assert following.start <= span.start + length - length // 4
        assert found[-1].start + length == side
        fewer = (len(found) - 1) * (length - length // 4) + length // 4
        assert fewer < side, "no tile could be spared"


@settings(max_examples=30)
@given(height=st.integers(1, 120), width=st.integers(1, 120), tile=tiles, patch=patches)
def test_scores_that_depend_on_the_pixel_alone_come_out_as_they_went_in(
    height: int, width: int, tile: int, patch: int
) -> None:
    scores = torch.rand(2, height, width, generator=torch.Generator().manual_seed(height * width))
    blended, times = torch.zeros_like(scores), torch.zeros(height, width)
    rows_of, columns_of = spans(height, tile, patch), spans(width, tile, patch)
    for rows, columns, block in blend(lambda y, x: scores[:, y, x].clone(), rows_of, columns_of):
        blended[:, rows, columns] = block
        times[rows, columns] += 1
    assert torch.equal(times, torch.ones(height, width)), "each pixel is yielded once"
    torch.testing.assert_close(blended, scores)


def test_what_differs_from_tile_to_tile_changes_gradually() -> None:
    """Tiles of ones and of zeros in turn: neighbours in the sum differ by a step's share of the overlap at most."""
    side, tile, calls = 200, 32, 0

    def score(rows: slice, columns: slice) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.full((1, rows.stop - rows.start, columns.stop - columns.start), float(calls % 2))

    blended = torch.empty(1, side, side)
    for rows, columns, block in blend(score, spans(side, tile, 8), spans(side, tile, 8)):
        blended[:, rows, columns] = block
    assert calls == 64
    assert (blended.min(), blended.max()) == (0, 1)
    for axis in (1, 2):
        assert blended.diff(dim=axis).abs().max() < 1 / (tile // 4)
