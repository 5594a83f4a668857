"""The pictures of one sample, as people have them, brought to rasters of one size, and what a model sees of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiseg.data.bands import AS_IS, Shown, bands_of, picture_size, read_picture
from semiseg.data.reading import MAX_PIXELS
from semiseg.data.reduction import reduce_image, reduce_in_strips
from semiseg.errors import DataError
from semiseg.models import ModelCard
from semiseg.prediction.geotiff import Georeference, GeoTiff, has_rasterio, is_georeferenced


class Photograph:
    """A large photograph of which a model sees a reduced copy: decoded as a whole when its pixels are first asked for.

    It is indexed with two slices like the array (H, W, 3) of uint8 that it stands for.

    Attributes:
        shape: (H, W, 3).
    """

    def __init__(self, path: Path, size: tuple[int, int], max_pixels: int, shown: Shown) -> None:
        self.shape = (size[1], size[0], 3)
        self._path, self._max_pixels, self._shown = path, max_pixels, replace(shown, long_side=None)

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[np.uint8]:
        """Return rows and columns, (h, w, 3) uint8; raises DataError as `read_picture`."""
        return self._pixels_HW3[window]

    @cached_property
    def _pixels_HW3(self) -> NDArray[np.uint8]:
        return np.asarray(read_picture(self._path, self._max_pixels, self._shown))


Raster = NDArray[np.uint8] | GeoTiff | Photograph
"""RGB pixels (H, W, 3), uint8, in memory or in a file; `raster[rows, columns]` gives a piece as an array."""

Picture = Image.Image | Raster | Tensor | Path | str
"""An image as people have it: a Pillow image, an RGB array (H, W, 3) of uint8, a tensor (3, H, W) of uint8 or of floats
from 0 to 1, or a path."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The pictures of one sample.

    Attributes:
        pictures: as they are.
        seen: as the model sees them: reduced where they are longer than its `long_side`, else the same.
        size: height and width of what is predicted.
    """

    pictures: tuple[Raster, ...]
    seen: tuple[Raster, ...]
    size: tuple[int, int]

    @property
    def seen_size(self) -> tuple[int, int]:
        """Height and width of what the model sees."""
        height, width = self.seen[0].shape[:2]
        return height, width

    @property
    def as_seen(self) -> Frames:
        """The same pictures, of which is predicted what the model sees and no more."""
        return replace(self, size=self.seen_size)


def shown_to(card: ModelCard) -> Shown:
    """Return how images are shown to a model."""
    return Shown(bands=bands_of(card.bands, card.levels), long_side=card.long_side)


def open_frames(pictures: Sequence[Picture], count: int, max_pixels: int = MAX_PIXELS, shown: Shown = AS_IS) -> Frames:
    """Read the pictures of one sample; a georeferenced TIFF is read later, piece by piece, if rasterio is installed.

    Args:
        pictures: before and after for change detection, else one.
        count: how many the model needs.
        max_pixels: the largest image that is decoded whole.
        shown: how the model sees images; its bands of files alone, as arrays are RGB already.

    Raises:
        DataError: an unreadable picture, the wrong number of pictures, or pictures that differ in size or place.
    """
    if len(pictures) != count:
        raise DataError(
            f"{len(pictures)} pictures for a model of {count} frames",
            remedy=f"pass {'one picture' if count == 1 else f'{count} pictures of one place, as a tuple'}",
        )
    opened = [_opened(picture, max_pixels, shown) for picture in pictures]
    rasters = tuple(raster for raster, _ in opened)
    if len({raster.shape for raster in rasters}) > 1:
        sizes = ", ".join(f"{raster.shape[1]} x {raster.shape[0]}" for raster in rasters)
        raise DataError(f"frames of different sizes: {sizes}", remedy="align and crop them to one size")
    georeference(rasters)
    height, width = rasters[0].shape[:2]
    return Frames(rasters, tuple(seen for _, seen in opened), (height, width))


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


def _opened(picture: Picture, max_pixels: int, shown: Shown) -> tuple[Raster, Raster]:
    """Return a picture as it is, and as the model sees it."""
    if isinstance(picture, Path | str):
        path = Path(picture)
        if is_georeferenced(path) and has_rasterio():
            picture = GeoTiff(path, shown.bands)
        else:
            # As in training, where a photograph that is read reduced is never decoded as a whole.
            seen = np.asarray(read_picture(path, max_pixels, shown))
            if shown.long_side is None:
                return seen, seen
            size = picture_size(path, max_pixels, shown.bands)
            return (seen if shown.size(size) == size else Photograph(path, size, max_pixels, shown)), seen
    raster = _raster(picture)
    return raster, _reduced(raster, shown)


def _reduced(raster: Raster, shown: Shown) -> Raster:
    height, width = raster.shape[:2]
    size = shown.size((width, height))
    if size == (width, height):
        return raster
    if isinstance(raster, np.ndarray):
        return np.asarray(reduce_image(Image.fromarray(raster), size))
    return reduce_in_strips(lambda rows: raster[rows, :], (width, height), shown.long_side)


def _raster(picture: Image.Image | Raster | Tensor) -> Raster:
    if isinstance(picture, Tensor):
        picture = _array(picture)
    if isinstance(picture, Image.Image):
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    if isinstance(picture, GeoTiff | Photograph):
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
