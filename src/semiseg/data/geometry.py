"""The weak augmentation: a random scale, crop and flip, in uint8, decoding no pixel that is not needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Geometry:
    """Where a crop lies: the resized image's size, the crop's corner in it and its side, and the flip."""

    resized: tuple[int, int]
    corner: tuple[int, int]
    crop: int
    flip: bool


def draw_geometry(rng: np.random.Generator, size: tuple[int, int], crop: int, scale: tuple[float, float]) -> Geometry:
    """Draw scale, crop and flip as the published training does.

    The long side is drawn as an integer in `scale` times the original long side; the crop lies anywhere in the
    resized image (padded to the crop at the right and the bottom where it is smaller); half of the crops are flipped.

    Args:
        rng: the generator of this sample.
        size: (width, height) of the image.
        crop: side of the square crop, pixels.
        scale: smallest and largest scale.
    """
    width, height = size
    long_side = max(width, height)
    # At least one pixel: 0.5 x a one-pixel image would vanish.
    drawn = max(1, int(rng.integers(int(long_side * scale[0]), int(long_side * scale[1]) + 1)))
    resized = tuple(drawn if side == long_side else max(1, int(side * drawn / long_side + 0.5)) for side in size)
    corner = tuple(int(rng.integers(0, max(side - crop, 0) + 1)) for side in resized)
    return Geometry((resized[0], resized[1]), (corner[0], corner[1]), crop, bool(rng.random() < 0.5))


def _visible(geometry: Geometry) -> tuple[int, int]:
    """Return (width, height) of the part of the crop that shows the image; the rest is padding."""
    (width, height), (x, y) = geometry.resized, geometry.corner
    return min(geometry.crop, width - x), min(geometry.crop, height - y)


def _crop(image: Image.Image, geometry: Geometry, resample: Image.Resampling) -> NDArray[np.uint8]:
    """Resize only the part of the image that the crop shows (2.9 x less work at scale 2 than resize, then crop).

    Pillow flips, in a tenth of the time that NumPy takes to copy pixels of three bytes backwards.
    """
    (width, height), (x, y) = geometry.resized, geometry.corner
    visible = _visible(geometry)
    fx, fy = image.width / width, image.height / height
    box = (x * fx, y * fy, min((x + visible[0]) * fx, image.width), min((y + visible[1]) * fy, image.height))
    cut = image.resize(visible, resample, box=box)
    return np.asarray(cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if geometry.flip else cut)


def _place(pixels: NDArray[np.uint8], geometry: Geometry, fill: int) -> NDArray[np.uint8]:
    """Pad to the crop: at the right and the bottom of the unflipped picture, so at the left once it is flipped."""
    height, width = pixels.shape[:2]
    if height == width == geometry.crop:
        return np.ascontiguousarray(pixels)
    canvas = np.full((geometry.crop, geometry.crop, *pixels.shape[2:]), fill, dtype=np.uint8)
    left = geometry.crop - width if geometry.flip else 0
    canvas[:height, left : left + width] = pixels
    return canvas


def crop_image(image: Image.Image, geometry: Geometry) -> NDArray[np.uint8]:
    """Return the crop of an RGB image: (crop, crop, 3) uint8, bilinear, padded with zeros."""
    return _place(_crop(image, geometry, Image.Resampling.BILINEAR), geometry, fill=0)


def crop_mask(mask_HW: NDArray[np.uint8], geometry: Geometry, fill: int) -> NDArray[np.uint8]:
    """Return the crop of a mask: (crop, crop) uint8, nearest, padded with `fill`."""
    return pad_mask(cut_mask(mask_HW, geometry), geometry, fill)


def cut_mask(mask: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Return what the crop shows of a mask of values (H, W) or colours (H, W, 3), nearest, without padding."""
    return _crop(Image.fromarray(mask), geometry, Image.Resampling.NEAREST)


def pad_mask(mask_HW: NDArray[np.uint8], geometry: Geometry, fill: int) -> NDArray[np.uint8]:
    """Return what `cut_mask` returned, padded with `fill` to (crop, crop)."""
    return _place(mask_HW, geometry, fill)


def padding(geometry: Geometry) -> NDArray[np.bool_]:
    """Return where the crop shows padding instead of image: (crop, crop) bool."""
    shown = np.zeros(_visible(geometry)[::-1], dtype=np.uint8)
    return _place(shown, geometry, fill=1).astype(bool)
