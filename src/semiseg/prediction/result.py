"""What a model says of one picture, and how to look at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.palette import Palette
from semiseg.engine import pictures
from semiseg.prediction.frames import Raster

_STRIP = 512
"""Rows that are tinted at once."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The mask of a sample, and the picture that it belongs to.

    Attributes:
        picture: the picture, of several frames the last: uint8 RGB (H, W, 3), or a file that is read when it is asked
            for pixels, `picture[rows, columns]`.
        mask_HW: the class id of every pixel, uint8.
        probabilities_KHW: those of the classes, float32, which sum to one in each pixel; None unless asked for.
        classes: the names of the classes by id.
        palette: a colour for each class.
        confidence_HW: the probability of the class of each pixel, float32; None unless asked for.
    """

    picture: Raster
    mask_HW: NDArray[np.uint8]
    probabilities_KHW: NDArray[np.float32] | None
    classes: tuple[str, ...]
    palette: Palette
    confidence_HW: NDArray[np.float32] | None = None

    def indexed(self) -> Image.Image:
        """Return the mask as a palette image, ready to save as PNG: ids within, colours for the eye."""
        return pictures.indexed_image(self.mask_HW, self.palette)

    def overlay(self, alpha: float = 0.5) -> Image.Image:
        """Return the picture tinted with the colours of its mask.

        Args:
            alpha: weight of the colour, 0 (picture only) to 1 (mask only).
        """
        return tinted(self.picture, self.mask_HW, self.palette, alpha)


def tinted(raster: Raster, mask_HW: NDArray[np.uint8], palette: Palette, alpha: float = 0.5) -> Image.Image:
    """Return a picture tinted with the colours of its mask, made in strips: a tint takes 24 bytes a pixel."""
    strips = [slice(top, top + _STRIP) for top in range(0, len(mask_HW), _STRIP)]
    parts = [pictures.overlay(raster[rows, :], mask_HW[rows], palette, alpha) for rows in strips]
    return Image.fromarray(np.concatenate(parts))
