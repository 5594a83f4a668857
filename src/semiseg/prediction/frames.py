"""The pictures of one sample, as people have them, brought to rasters of one size that are read piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiseg.data.bands import Bands, read_picture
from semiseg.data.reading import MAX_PIXELS
from semiseg.errors import DataError
from semiseg.prediction.geotiff import Georeference, GeoTiff, has_rasterio, is_georeferenced

Raster = NDArray[np.uint8] | GeoTiff
"""RGB pixels (H, W, 3), uint8, in memory or in a file; `raster[rows, columns]` gives a piece as an array."""

Picture = Image.Image | Raster | Tensor | Path | str
"""An image as people have it: a Pillow image, an RGB array (H, W, 3) of uint8, a tensor (3, H, W) of uint8 or of floats
from 0 to 1, or a path."""


def open_frames(
    pictures: Sequence[Picture], count: int, max_pixels: int = MAX_PIXELS, bands: Bands | None = None
) -> tuple[Raster, ...]:
    """Read the pictures of one sample; a georeferenced TIFF is read later, piece by piece, if rasterio is installed.

    Args:
        pictures: before and after for change detection, else one.
        count: how many the model needs.
        max_pixels: the largest image that is decoded whole.
        bands: how the model sees images that are no photographs; of files alone, as arrays are RGB already.

    Raises:
        DataError: an unreadable picture, the wrong number of pictures, or pictures that differ in size or place.
    """
    if len(pictures) != count:
        raise DataError(
            f"{len(pictures)} pictures for a model of {count} frames",
            remedy=f"pass {'one picture' if count == 1 else f'{count} pictures of one place, as a tuple'}",
        )
    rasters = tuple(_raster(picture, max_pixels, bands) for picture in pictures)
    if len({raster.shape for raster in rasters}) > 1:
        sizes = ", ".join(f"{raster.shape[1]} x {raster.shape[0]}" for raster in rasters)
        raise DataError(f"frames of different sizes: {sizes}", remedy="align and crop them to one size")
    georeference(rasters)
    return rasters


def read_piece(rasters: Sequence[Raster], rows: slice, columns: slice) -> NDArray[np.uint8]:
    """Return the same piece of all rasters, (T, h, w, 3) uint8."""
    return np.stack([raster[rows, columns] for raster in rasters])


def georeference(rasters: Sequence[Raster]) -> Georeference | None:
    """Return where the pictures lie, or None if none of them says.

    Raises:
        DataError: they lie in different places.
    """
    found = [raster.georeference for raster in rasters if isinstance(raster, GeoTiff)]
    for other in found[1:]:
        if difference := found[0].difference(other, rasters[0].shape):
            raise DataError(f"frames of different {difference}", remedy="warp one of them to the grid of the other")
    return found[0] if found else None


def _raster(picture: Picture, max_pixels: int, bands: Bands | None) -> Raster:
    if isinstance(picture, Path | str):
        path = Path(picture)
        if is_georeferenced(path) and has_rasterio():
            return GeoTiff(path, bands)
        picture = read_picture(path, max_pixels, bands)
    if isinstance(picture, Tensor):
        picture = _array(picture)
    if isinstance(picture, Image.Image):
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    if isinstance(picture, GeoTiff):
        return picture
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise DataError(
            f"array of shape {picture.shape} and type {picture.dtype}",
            expected="an RGB picture (H, W, 3) of uint8, 0 to 255",
            remedy="convert the array, or pass a Pillow image or a path",
        )
    return picture


def _array(picture_3HW: Tensor) -> NDArray[np.uint8]:
    """Return a tensor as the array of its picture: floats are rounded to 256 levels, as files have them."""
    is_float = picture_3HW.is_floating_point()
    if picture_3HW.ndim != 3 or picture_3HW.shape[0] != 3 or not (is_float or picture_3HW.dtype == torch.uint8):
        raise _no_picture(f"tensor of shape {tuple(picture_3HW.shape)} and type {picture_3HW.dtype}")
    if is_float:
        low, high = (float(bound) for bound in torch.aminmax(picture_3HW)) if picture_3HW.numel() else (0.0, 0.0)
        if not (low >= 0 and high <= 1):
            raise _no_picture(f"tensor of floats from {low:.3g} to {high:.3g}")
        picture_3HW = (picture_3HW * 255).round().to(torch.uint8)
    return picture_3HW.movedim(0, -1).contiguous().cpu().numpy()


def _no_picture(what: str) -> DataError:
    return DataError(
        what,
        expected="an RGB picture (3, H, W), of uint8 from 0 to 255 or of floats from 0 to 1, not normalised",
        remedy="convert the tensor, or pass a Pillow image or a path",
    )
