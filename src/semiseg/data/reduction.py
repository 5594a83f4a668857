"""Photographs read smaller than they are (`data.long_side`): the one rule of their size, for images and for masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_CROPS = 4
"""Crops that the longer side of an image may have before a smaller one is advised, and has then. With the published
random scales from 0.5 a crop then shows half of that side at most; of the published data sets Cityscapes has most, 2.6
(2048 pixels, crop 801)."""
_FILTER, _REACH = Image.Resampling.HAMMING, 1
"""How an image is reduced, and how many pixels of the smaller image that reaches to either side. Hamming costs what the
triangle does, a bit more than half of bicubic (108, 116 and 180 ms from 4000 to 2048), and is nearer to Lanczos."""
_STRIP = 2**24
"""Pixels of a large file that are read at once."""


def reduced_size(size: tuple[int, int], long_side: int | None) -> tuple[int, int]:
    """Return the (width, height) at which an image of `size` is read.

    The longer side becomes `long_side`; the shorter one is rounded to the nearest pixel, halves up, and is at least 1.
    An image that is not longer stays as it is. Which side is the longer one makes no difference, so an image is of the
    same size whether it is turned upright before or after.
    """
    longest = max(size)
    if long_side is None or longest <= long_side:
        return size
    width, height = (max(1, (2 * side * long_side + longest) // (2 * longest)) for side in size)
    return width, height


def advised_long_side(sides: Sequence[int], crop: int) -> int | None:
    """Return the `data.long_side` for images much larger than the crop; None for others.

    Args:
        sides: the longer side of each image.
        crop: side of the training crop.
    """
    return MOST_CROPS * crop if sides and median(sides) > MOST_CROPS * crop else None


def reduce_image(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """Return an image of `size`, each pixel a mean over the area that it stands for (antialiased).

    Args:
        image: of a mode whose values can be mixed, such as RGB.
        size: (width, height), from `reduced_size`.
        box: the part of `image` that becomes all of it, where a decoder has padded it; default: all.
    """
    return image if image.size == size else image.resize(size, _FILTER, box=box)


def reduce_mask(mask: NDArray[np.uint8], long_side: int | None) -> NDArray[np.uint8]:
    """Return a mask of values (H, W) or colours (H, W, 3) in the size at which its image is read.

    A pixel takes the value at its centre, as in crops of training. So no value is invented, and the shares of the
    classes and of what is ignored stay what they are on average. The most frequent value of the area instead would drop
    what is thinner than half a pixel everywhere, and has to choose where there are two.
    """
    height, width = mask.shape[:2]
    size = reduced_size((width, height), long_side)
    if size == (width, height):
        return mask
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def reduce_in_strips(
    read: Callable[[slice], NDArray[np.uint8]], size: tuple[int, int], long_side: int | None
) -> NDArray[np.uint8]:
    """Return what `reduce_image` makes of an image that is too large to be held.

    Args:
        read: gives some rows of the image, (h, W, 3), at their whole width.
        size: its (width, height).
        long_side: see `reduced_size`.
    """
    (width, height), (columns, rows) = size, reduced_size(size, long_side)
    scale, parts = height / rows, list[NDArray[np.uint8]]()
    step = max(1, int(_STRIP / (width * scale)))
    for top in range(0, rows, step):
        bottom = min(top + step, rows)
        first = max(0, int((top - _REACH) * scale) - 1)
        strip = Image.fromarray(read(slice(first, min(height, int((bottom + _REACH) * scale) + 2))))
        box = (0.0, top * scale - first, float(width), min(bottom * scale - first, float(strip.height)))
        parts.append(np.asarray(strip.resize((columns, bottom - top), _FILTER, box=box)))
    return np.concatenate(parts)
