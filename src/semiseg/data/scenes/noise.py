"""Smooth random maps and small image filters in plain NumPy, the brushes of the scenes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Map = NDArray[np.floating[Any]]
"""A map of floats over the pixels, (H, W) or (H, W, C)."""


def smooth_noise(rng: np.random.Generator, size: int, cell: float, octaves: int = 1) -> Map:
    """Draw value noise: normal values `cell` pixels apart, joined bicubically.

    Args:
        rng: source of the values.
        size: side of the map in pixels.
        cell: distance of two values in pixels, >= 1.
        octaves: layers, each of half the cell and half the height of the one before.

    Returns:
        (size, size) float32 with mean about 0 and a standard deviation of about 0.7.
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        step = cell / 2**octave
        count = math.ceil(size / step) + 3
        grid = Image.fromarray(rng.standard_normal((count, count), np.float32))
        box = (1.0, 1.0, 1.0 + size / step, 1.0 + size / step)
        total += np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC, box=box)) / 2**octave
    return total


def blur(image_HWC: Map, sigma: float) -> Map:
    """Return the image under a Gaussian of `sigma` <= 1 pixel, edges repeated."""
    offsets = np.arange(-2, 3)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        length = image_HWC.shape[axis]
        width = [(2, 2) if a == axis else (0, 0) for a in range(image_HWC.ndim)]
        padded = np.pad(image_HWC, width, mode="edge")
        shifted = (padded[i : i + length] if axis == 0 else padded[:, i : i + length] for i in range(5))
        image_HWC = np.add.reduce([tap * part for tap, part in zip(taps, shifted, strict=True)])
    return image_HWC


def smoothstep(values: Map, low: float, high: float) -> Map:
    """Return 0 below `low`, 1 above `high` and a smooth ramp between them."""
    ramp = np.clip((values - low) / (high - low), 0, 1)
    smooth: Map = ramp * ramp * (3 - 2 * ramp)
    return smooth


def blend(under_HWC: Map, over_HWC: Map | float, alpha_HW: Map) -> Map:
    """Return `over` laid on `under` with an opacity in [0, 1] per pixel; `over` may be one colour or one grey."""
    alpha = alpha_HW[..., None]
    mixed: Map = under_HWC * (1 - alpha) + over_HWC * alpha
    return mixed
