"""Images that are no photographs: of 16 bits, of floats, of many bands; shown to a model as three bands of 8 bits.

Everything behind the reader works on RGB bytes, so a data set says once which bands are red, green and blue and which
values become 0 and 255 (`bands` and `levels` of `dataset.yaml`), and a model keeps it for the images it will predict.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from semiseg.data.extras import require_library
from semiseg.data.reading import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    WIDE_MODES,
    image_size,
    is_whole,
    open_image,
    read_image,
    upright,
    upright_size,
)
from semiseg.data.reduction import reduce_image, reduced_size
from semiseg.errors import DataError, SemisegError

ARRAY_SUFFIX = ".npy"
_TIFF = (".tif", ".tiff")
_DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".png": "PNG"}
MAX_BANDS = 512

Values = NDArray[Any]
"""Pixels as a file holds them, (H, W, C), of any kind of numbers."""


@dataclass(frozen=True, kw_only=True)
class Bands:
    """How an image is shown as RGB bytes.

    Attributes:
        chosen: the bands that are red, green and blue, or one that is gray, from 1; empty: those of an image of one or
            three.
        levels: the values that become 0 and 255, for each of these bands; empty: the values are bytes already.
    """

    chosen: tuple[int, ...] = ()
    levels: tuple[tuple[float, float], ...] = ()

    def text(self) -> str:
        """Return it in words."""
        bands = f"bands {', '.join(map(str, self.chosen))}" if self.chosen else "bands as they are"
        levels = ", ".join(f"{low:g} to {high:g}" for low, high in self.levels)
        return f"images are shown as {bands}, values {levels or '0 to 255'}"

    def picture(self, values_HWC: Values, path: Path) -> NDArray[np.uint8]:
        """Return RGB bytes (H, W, 3) of the bands that were chosen, given in their order.

        Raises:
            DataError: neither one nor three bands, another number of them than of levels, or no levels for values that
                are no bytes.
        """
        self.refuse_unfit(values_HWC.shape[-1], {str(values_HWC.dtype)}, path, picked=True)
        if not self.levels:
            shown_HWC = values_HWC
        else:
            low_C, high_C = np.array(self.levels, dtype=np.float32).T
            scaled_HWC = (values_HWC.astype(np.float32) - low_C) * (255 / (high_C - low_C))
            shown_HWC = np.nan_to_num(scaled_HWC, nan=0, posinf=255, neginf=0).clip(0, 255).round().astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(shown_HWC, (*shown_HWC.shape[:2], 3)))

    def refuse_unfit(self, count: int, dtypes: set[str], path: Path, *, picked: bool = False) -> None:
        """Refuse an image that cannot be shown so.

        Args:
            count: number of its bands.
            dtypes: what they hold.
            path: of the image.
            picked: whether these are the chosen bands alone.

        Raises:
            DataError: it cannot.
        """
        if self.chosen and not picked:
            _refuse_missing(self.chosen, count, path)
            count = len(self.chosen)
        if count not in (1, 3) or (self.levels and len(self.levels) != count):
            raise _wrong_bands(f"image of {count} bands", path, self)
        if not self.levels and dtypes != {"uint8"}:
            raise _wrong_bands(f"image with {' and '.join(sorted(dtypes))} pixels", path, self)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How images are shown to a model.

    Attributes:
        bands: which of their bands and values; None: photographs, as they are.
        long_side: what is longer is shown reduced, see `semiseg.data.reduction`; None: as large as it is.
    """

    bands: Bands | None = None
    long_side: int | None = None

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) at which an image of `size` is shown."""
        return reduced_size(size, self.long_side)

    def notes(self) -> tuple[str, ...]:
        """Say what is not as it is in the files."""
        bands = (self.bands.text(),) if self.bands else ()
        if self.long_side is None:
            return bands
        reduced = f"images longer than {self.long_side:,} pixels, and their masks, are read reduced to that"
        return (*bands, f"{reduced} (data.long_side); figures are of this size")


AS_IS = Shown()
"""Photographs, as large as they are."""


def bands_of(chosen: Sequence[int], levels: Sequence[tuple[float, float]]) -> Bands | None:
    """Return how images are shown, None for photographs, of which nothing needs to be said."""
    return Bands(chosen=tuple(chosen), levels=tuple(levels)) if chosen or levels else None


def are_levels(levels: Sequence[Sequence[float]], bands: int | None = None) -> bool:
    """Whether these are one or three pairs of finite numbers, the second above the first, as many as the bands."""
    pairs = all(len(pair) == 2 and all(map(math.isfinite, pair)) and pair[0] < pair[1] for pair in levels)
    return pairs and len(levels) in (1, 3) and bands in (None, 0, len(levels))


def are_bands(chosen: Sequence[int]) -> bool:
    """Whether these are the numbers of one band or three."""
    return len(chosen) in (1, 3) and all(1 <= band <= MAX_BANDS for band in chosen)


def image_suffixes(bands: Bands | None) -> tuple[str, ...]:
    """Return the suffixes of images; arrays are images only where a data set says how they are shown."""
    return IMAGE_SUFFIXES if bands is None else (*IMAGE_SUFFIXES, ARRAY_SUFFIX)


def read_picture(path: Path, max_pixels: int = MAX_PIXELS, shown: Shown = AS_IS) -> Image.Image:
    """Decode an image as 8-bit RGB, upright, in the size at which it is shown.

    Raises:
        DataError: as `read_image`; or the bands do not fit the image, or rasterio is needed and not installed.
    """
    if shown.bands is None:
        return read_image(path, max_pixels, shown.long_side)
    values_HWC = read_values(path, max_pixels, shown.bands.chosen)
    image = Image.fromarray(shown.bands.picture(values_HWC, path))
    return reduce_image(image, shown.size(image.size))


def picture_size(path: Path, max_pixels: int = MAX_PIXELS, bands: Bands | None = None) -> tuple[int, int]:
    """Return (width, height) of the upright image, as the file has it, from its header; raises as `read_picture`."""
    if bands is None:
        return image_size(path, max_pixels)
    if path.suffix.lower() == ARRAY_SUFFIX:
        height, width, _ = _array(path, max_pixels).shape
        return width, height
    with _opened(path, max_pixels) as image:
        if image is not None:
            return upright_size(image)
    with _raster(path, max_pixels) as source:
        return source.width, source.height


def read_values(path: Path, max_pixels: int = MAX_PIXELS, chosen: Sequence[int] = ()) -> Values:
    """Return the values of some bands, or of the one or three there are, (H, W, C); colours as RGB.

    Raises:
        DataError: unreadable, larger than the cap, without such a band, or rasterio is needed and not installed.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        return _chosen(_array(path, max_pixels), chosen, path)
    with _opened(path, max_pixels) as image, _reading(path):
        if image is not None:
            image.load()
            shown = upright(image, image)
            is_gray = shown.mode in (*WIDE_MODES, "L")
            values = np.asarray(shown if is_gray else shown.convert("RGB"))
            return _chosen(values[..., None] if is_gray else values, chosen, path)
    with _raster(path, max_pixels) as source:
        _refuse_missing(chosen, source.count, path)
        _refuse_undecided(chosen, source.count, path)
        return np.ascontiguousarray(source.read(list(chosen) or None).transpose(1, 2, 0))


def _chosen(values_HWC: Values, chosen: Sequence[int], path: Path) -> Values:
    _refuse_missing(chosen, values_HWC.shape[-1], path)
    _refuse_undecided(chosen, values_HWC.shape[-1], path)
    return np.ascontiguousarray(values_HWC[..., [band - 1 for band in chosen]] if chosen else values_HWC)


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[ImageFile.ImageFile | None]:
    """Open an image with Pillow; None if it would show a part of it, or does not know this kind of TIFF."""
    try:
        image = open_image(path, max_pixels)
    except DataError:
        if path.suffix.lower() not in _TIFF:
            raise
        yield None
        return
    with image:
        yield image if is_whole(image) else None


def _array(path: Path, max_pixels: int) -> Values:
    """Return an array of a file, mapped: what is not looked at is not read."""
    with _reading(path):
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.dtype.kind not in "uif" or values.ndim not in (2, 3) or 0 in values.shape:
            raise ValueError(f"an array of {values.dtype} with {values.ndim} dimensions")
        values_HWC: Values = values if values.ndim == 3 else values[..., None]
        if values_HWC.shape[0] * values_HWC.shape[1] > max_pixels or values_HWC.shape[2] > MAX_BANDS:
            raise ValueError(f"an array of {values_HWC.shape}, more than {max_pixels:,} pixels or {MAX_BANDS} bands")
        return values_HWC


@contextmanager
def _raster(path: Path, max_pixels: int) -> Iterator[Any]:
    """Open a TIFF or PNG by rasterio; other drivers of GDAL follow references to other files and servers."""
    require_library("rasterio", "geo", reads="an image of many bands, or of 16 bits a colour,")
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    driver = _DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise _wrong_bands("image of many bands, or of 16 bits a colour", path, None)
    with _reading(path), rasterio.open(path, driver=driver) as source:
        if source.width * source.height > max_pixels or source.count > MAX_BANDS:
            raise ValueError(f"{source.width} x {source.height} pixels in {source.count} bands are more than the cap")
        yield source


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except SemisegError:
        raise
    except Exception as error:  # of parsers of strange bytes
        reason = str(error.__cause__ or error).splitlines()[0] or type(error).__name__
        raise DataError(
            f"unreadable image ({reason})", where=path, remedy="replace the file or take it out of the data set"
        ) from error


def _refuse_missing(chosen: Sequence[int], count: int, path: Path) -> None:
    if any(band > count for band in chosen):
        raise DataError(
            f"image of {count} bands, of which {', '.join(map(str, chosen))} are wanted",
            where=path,
            remedy="correct `bands` in dataset.yaml, or take the image out",
        )


def _refuse_undecided(chosen: Sequence[int], count: int, path: Path) -> None:
    """Refuse many bands before they are read."""
    if not chosen and count not in (1, 3):
        raise _wrong_bands(f"image of {count} bands", path, None)


def _wrong_bands(what: str, path: Path, bands: Bands | None) -> DataError:
    return DataError(
        what,
        where=path,
        expected=f"what dataset.yaml says: {bands.text()}" if bands else "one or three bands, in TIFF, PNG or npy",
        remedy="say which bands are red, green and blue: `semiseg data levels FOLDER --bands R G B` measures their "
        "values and writes `bands` and `levels` into dataset.yaml",
    )
