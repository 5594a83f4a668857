"""Large pictures: overlapping tiles whose scores are blended, in memory that does not grow with the height."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

ON_DEVICE = 2**30
"""Bytes of scores that may wait on the model's device for what follows; more wait in main memory."""


@dataclass(frozen=True)
class Span:
    """Where a tile lies along one side of the picture."""

    start: int
    """Its first pixel."""
    finished: int
    """How many of its pixels, from the first, no later tile covers."""
    weights: Tensor
    """The share of this tile in each of its pixels, fp32; those of all tiles of a pixel sum to one."""

    @property
    def covered(self) -> slice:
        """The pixels of the tile."""
        return slice(self.start, self.start + len(self.weights))

    @property
    def done(self) -> slice:
        """The pixels that this tile is the last to cover."""
        return slice(self.start, self.start + self.finished)


def spans(side: int, tile: int, patch: int) -> list[Span]:
    """Lay tiles along a side of `side` pixels.

    A side of at most `tile` pixels is one span. A longer one is covered by the fewest spans that overlap by at least a
    quarter, all of one length, the largest multiple of the patch in `tile`. They are spread evenly from border to
    border: no tile needs invented pixels beyond the picture, and none lies nearly on top of its neighbour, as the
    last one does where only that one is shifted.

    A weight falls linearly with the distance to the nearer end of the span, where a model sees least around a pixel,
    so it is close to zero where a tile begins or ends, and the sum of the tiles has no step there.
    """
    length = side if side <= tile else tile // patch * patch
    room, stride = side - length, length - length // 4
    count = 1 + -(-room // stride)
    starts = [index * room // max(1, count - 1) for index in range(count)]
    place = torch.arange(length)
    tent = torch.minimum(place + 1, length - place).float()
    total = torch.zeros(side)
    for start in starts:
        total[start : start + length] += tent
    return [
        Span(start, following - start, tent / total[start : start + length])
        for start, following in zip(starts, [*starts[1:], side], strict=True)
    ]


def blend(
    score: Callable[[slice, slice], Tensor], rows: list[Span], columns: list[Span]
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Blend the scores of all tiles and yield each block of pixels as soon as no later tile covers it.

    Besides the tile at hand only the overlap with the row of tiles below is held: K x overlap x width, a quarter of a
    band as high as a tile; in main memory if it is more than `ON_DEVICE`.

    Args:
        score: gives the scores (..., K, h, w) of a tile from its rows and columns, fp32; they are changed in place.
        rows: the tiles along the height, as from `spans`.
        columns: the tiles along the width.

    Yields:
        Rows, columns and scores (..., K, h, w) of a block; the blocks cover every pixel once.
    """
    above: deque[Tensor] = deque()
    width = columns[-1].covered.stop
    for row in rows:
        left = torch.empty(0)
        for column in columns:
            part = score(row.covered, column.covered)
            part *= (row.weights[:, None] * column.weights).to(part.device)
            if left.numel():
                part[..., : left.shape[-1]] += left
            block, left = part[..., : column.finished], part[..., column.finished :]
            if row.start:
                overlap = above.popleft()
                block[..., : overlap.shape[-2], :] += overlap.to(block.device)
            # A copy, lest the slice keep the whole tile alive.
            below = block[..., row.finished :, :].clone()
            band = below.nbytes // max(1, below.shape[-1]) * width
            above.append(below.cpu() if band > ON_DEVICE else below)
            yield row.done, column.done, block[..., : row.finished, :]
