"""The scores of a picture at another size than it was seen at, strip by strip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from semiseg.engine.inference import Block
from semiseg.models.layers import resize_bilinear

_STRIP = 2**26
"""Bytes of the scores that are made at once."""


def resized(blocks: Iterable[Block], seen: tuple[int, int], size: tuple[int, int]) -> Iterator[Block]:
    """Bring the scores of a picture to another size, bilinearly: logits as logits, else probabilities.

    Centres of pixels keep their places, as when the picture was reduced. All scores of a photograph of 12 megapixels
    would take 1 GB for 21 classes: only a strip of them is held, besides one row of the blocks that were seen.

    Args:
        blocks: of the picture as it was seen, row by row from left to right, as `Inference.blocks` gives them.
        seen: its height and width.
        size: height and width that are wanted.

    Yields:
        Strips of all columns, from the top, that cover every pixel once.
    """
    rows = _Rows(seen[0], size[0])
    done, above = 0, torch.empty(0)
    for band in _bands(blocks, seen[1]):
        scores_BKhw = torch.cat((above, band.scores_BKHW), dim=-2) if above.numel() else band.scores_BKHW
        first, end = band.rows.stop - scores_BKhw.shape[-2], rows.known(band.rows.stop)
        above = scores_BKhw[..., -1:, :].clone()
        step = max(1, _STRIP // (4 * scores_BKhw[..., 0, 0].numel() * size[1]))
        for top in range(done, end, step):
            strip = slice(top, min(top + step, end))
            strip_BKhw = resize_bilinear(
                rows.mixed(scores_BKhw, first, strip), (strip.stop - top, size[1]), align_corners=False
            )
            yield Block(strip, slice(0, size[1]), strip_BKhw, band.are_logits)
        done = end


def _bands(blocks: Iterable[Block], width: int) -> Iterator[Block]:
    """Put the blocks of the same rows side by side."""
    parts: list[Tensor] = []
    for block in blocks:
        parts.append(block.scores_BKHW if block.are_logits else block.probabilities())
        if block.columns.stop == width:
            whole_BKhw = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
            parts = []
            yield Block(block.rows, slice(0, width), whole_BKhw, block.are_logits)


class _Rows:
    """Which rows of a picture are mixed into each row at another height."""

    def __init__(self, seen: int, wanted: int) -> None:
        places = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * (seen / wanted) - 0.5).clamp(0, seen - 1)
        self._upper = places.long()
        self._lower = (self._upper + 1).clamp(max=seen - 1)
        self._share = (places - self._upper).float()

    def known(self, seen: int) -> int:
        """Return how many rows, from the first, are mixed of the first `seen` alone."""
        return int((self._lower < seen).sum())

    def mixed(self, scores_BKhw: Tensor, first: int, rows: slice) -> Tensor:
        """Return some rows (B, K, n, w), of scores whose first row is the row `first` of the picture."""
        device = scores_BKhw.device
        upper, lower = ((index[rows] - first).to(device) for index in (self._upper, self._lower))
        share_n1 = self._share[rows, None].to(device)
        return torch.lerp(scores_BKhw.index_select(-2, upper), scores_BKhw.index_select(-2, lower), share_n1)
