"""The colours of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
Palette = tuple[Colour, ...]

IGNORED: Colour = (0, 0, 0)
"""How pixels without a class are drawn; no colour of `default_palette` comes near it."""

_FIRST_COLOURS: Palette = (
    (70, 120, 190),
    (236, 140, 62),
    (86, 166, 90),
    (208, 74, 76),
    (140, 104, 190),
    (52, 168, 160),
    (236, 200, 76),
    (224, 128, 172),
    (146, 104, 72),
    (134, 190, 232),
    (164, 172, 70),
    (150, 152, 160),
    (48, 66, 130),
    (126, 44, 70),
)
_PAPER: Colour = (255, 255, 255)


def default_palette(num_classes: int) -> Palette:
    """Return one colour per class, the same for every call; a longer palette begins with the shorter one.

    The first colours are chosen by hand. Each further one is the candidate of a regular RGB grid that is farthest from
    all before it (and from black and white, which stand for ignored pixels and for paper) in OKLab, where distance is
    what the eye sees (B. Ottosson, "A perceptual color space for image processing", 2020).

    Args:
        num_classes: 0 to 256.
    """
    levels = np.linspace(30, 255, 12).round()
    grid_N3 = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    grid_N3 = grid_N3[np.ptp(grid_N3, axis=1) <= 185]  # without the neon corners of the cube
    grid_N3 = grid_N3[_oklab(grid_N3)[:, 0] >= 0.34]  # nor what is almost black
    grid_lab = _oklab(grid_N3)
    taken_lab = _oklab(np.array((IGNORED, _PAPER, *_FIRST_COLOURS), dtype=np.float64))
    nearest_N = np.linalg.norm(grid_lab[:, None] - taken_lab[None], axis=-1).min(axis=1)
    colours = list(_FIRST_COLOURS)
    while len(colours) < num_classes:
        farthest = int(nearest_N.argmax())
        red, green, blue = (int(level) for level in grid_N3[farthest])
        colours.append((red, green, blue))
        nearest_N = np.minimum(nearest_N, np.linalg.norm(grid_lab - grid_lab[farthest], axis=-1))
    return tuple(colours[:num_classes])


def _oklab(colours_N3: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = colours_N3 / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    lab: NDArray[np.float64] = np.cbrt(linear @ to_cones.T) @ to_lab.T
    return lab
