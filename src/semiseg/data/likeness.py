"""Which images look alike: a print of 128 bits that survives scaling, compression and small changes of colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ALIKE = 6
"""Bits of 128 in which the prints of one picture, saved twice, may differ; two photographs differ in about 64."""

_SIDE = 8
_FLAT = 8  # gray levels: below, the gradients of a picture are noise
_ROWS = 1024  # prints that are compared at once

Print = tuple[int, ...]
"""Two words of 64 bits for each picture of a sample; zeros of one without contrast, which is like no other."""


def picture_print(image: Image.Image) -> Print:
    """Return the print of an image: whether gray rises to the right, and downwards, in 8 x 8 cells (dHash, N. Krawetz).

    Args:
        image: any picture.
    """
    small = image.convert("L") if image.width * image.height < 1 << 16 else image.reduce(_reduction(image)).convert("L")
    across = np.asarray(small.resize((_SIDE + 1, _SIDE), Image.Resampling.BOX), dtype=np.int16)
    down = np.asarray(small.resize((_SIDE, _SIDE + 1), Image.Resampling.BOX), dtype=np.int16)
    if np.ptp(across) < _FLAT and np.ptp(down) < _FLAT:
        return 0, 0
    return _word(across[:, 1:] > across[:, :-1]), _word(down[1:] > down[:-1])


def _reduction(image: Image.Image) -> int:
    """Return by how much to reduce a large image first, by the mean of cells: far less work than a resize of it all."""
    return max(1, min(image.width, image.height) // (16 * _SIDE))


def _word(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def alike(ones: Mapping[str, Print], others: Mapping[str, Print]) -> Iterator[tuple[str, str]]:
    """Yield for each of the others that has one the first of the ones that looks alike, picture for picture.

    Args:
        ones: prints by name, all of as many words.
        others: prints by name.
    """
    one_names, other_names = [[name for name, print_ in named.items() if any(print_)] for named in (ones, others)]
    if not one_names or not other_names:
        return
    others_MW = np.array([others[name] for name in other_names], dtype=np.uint64)
    for start in range(0, len(one_names), _ROWS):
        names = one_names[start : start + _ROWS]
        ones_NW = np.array([ones[name] for name in names], dtype=np.uint64)
        alike_NM = np.ones((len(ones_NW), len(others_MW)), dtype=np.bool_)
        for word in range(0, ones_NW.shape[1], 2):
            across, down = (np.bitwise_count(ones_NW[:, None, at] ^ others_MW[None, :, at]) for at in (word, word + 1))
            alike_NM &= across + down <= ALIKE
        for column in np.flatnonzero(alike_NM.any(axis=0)):
            yield names[alike_NM[:, column].argmax()], other_names[column]
        left = np.flatnonzero(~alike_NM.any(axis=0))
        others_MW, other_names = others_MW[left], [other_names[column] for column in left]
