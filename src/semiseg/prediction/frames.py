"""The pictures of one sample, as people have them, brought to rasters of one size that are read piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.reading import MAX_PIXELS, read_image
from semiseg.errors import DataError
from semiseg.prediction.geotiff import Georeference, GeoTiff, has_rasterio, is_georeferenced

Raster = NDArray[np.uint8] | GeoTiff
"""RGB pixels (H, W, 3), uint8, in memory or in a file; `raster[rows, columns]` gives a piece as an array."""

Picture = Image.Image | Raster | Path | str
"""An image as people have it: a Pillow image, an RGB array (H, W, 3) of uint8, or a path."""


def open_frames(pictures: Sequence[Picture], count: int, max_pixels: int = MAX_PIXELS) -> tuple[Raster, ...]:
    """Read the pictures of one sample; a georeferenced TIFF is read later, piece by piece, if rasterio is installed.

    Args:
        pictures: before and after for change detection, else one.
        count: how many the model needs.
        max_pixels: the largest image that is decoded whole.

    Raises:
        DataError: an unreadable picture, the wrong number of pictures, or pictures that differ in size or place.
    """
    if len(pictures) != count:
        raise DataError(
            f"{len(pictures)} pictures for a model of {count} frames",
            remedy=f"pass {'one picture' if count == 1 else f'{count} pictures of one place'}",
        )
    rasters = tuple(_raster(picture, max_pixels) for picture in pictures)
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


def _raster(picture: Picture, max_pixels: int) -> Raster:
    if isinstance(picture, Path | str):
        path = Path(picture)
        if is_georeferenced(path) and has_rasterio():
            return GeoTiff(path)
        picture = read_image(path, max_pixels)
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
