"""GeoTIFFs through rasterio (the extra `geo`): read in windows, and written with the georeference of the image."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from semiseg.data.bands import Bands
from semiseg.data.palette import Palette
from semiseg.data.predicted import MARK
from semiseg.errors import DataError
from semiseg.files import whole_file

if TYPE_CHECKING:
    from rasterio import Affine
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader

MAX_PIXELS = 2**32
"""The most pixels of a GeoTIFF; it is read in windows, but its mask is held whole, a byte a pixel."""

_SUFFIXES = (".tif", ".tiff")
_SCALE, _TIEPOINT, _TRANSFORM = 33550, 33922, 34264
"""The tags that place pixels (OGC 19-008r4, sec. 7.1): a scale and a tie point, or a matrix."""
_TOLERANCE = 0.1
"""How far, in pixels, two images may lie apart and still count as one place: their coordinates may be rounded."""


@dataclass(frozen=True)
class Georeference:
    """Where on Earth a picture lies."""

    crs: CRS | None
    """The coordinate system; None where the file names none."""
    transform: Affine
    """From (column, row) of a pixel's corner to coordinates."""

    def difference(self, other: Georeference, shape: tuple[int, ...]) -> str | None:
        """Say how two pictures of `shape` (height, width, ...) differ in place, or None if they are of one place."""
        if self.crs != other.crs:
            return f"coordinate systems {_name(self.crs)} and {_name(other.crs)}"
        steps = [ours - theirs for ours, theirs in zip(self.transform[:6], other.transform[:6], strict=True)]
        corners = [(x, y) for x in (0, shape[1]) for y in (0, shape[0])]
        drift = max(abs(steps[at] * x + steps[at + 1] * y + steps[at + 2]) for x, y in corners for at in (0, 3))
        pixel = min(np.hypot(*self.transform[:2]), np.hypot(*self.transform[3:5]))
        if drift <= _TOLERANCE * pixel:
            return None
        return f"transforms {tuple(self.transform[:6])} and {tuple(other.transform[:6])}"


class GeoTiff:
    """A georeferenced TIFF, indexed with two slices like the array (H, W, 3) of uint8 that it stands for.

    Where nothing is said of the bands, one is shown as grey or through its colour table, two are grey and alpha; of
    more the first three are taken as red, green and blue. Each access opens the file by itself, so any thread may read.

    Attributes:
        path: the file.
        shape: (H, W, 3).
        georeference: where it lies.

    Raises:
        DataError: unreadable, deeper than 8 bits without levels, without a band that is shown, or more than
            `MAX_PIXELS` pixels.
    """

    def __init__(self, path: Path, bands: Bands | None = None) -> None:
        self.path, self._bands = path, bands
        try:
            with _open(path) as source:
                self.shape = (source.height, source.width, 3)
                self.georeference = Georeference(source.crs, source.transform)
                dtypes, count = set(source.dtypes), source.count
        except OSError as error:
            raise self._damaged(error) from error
        if bands:
            bands.refuse_unfit(count, dtypes, path)
        elif dtypes != {"uint8"}:
            raise DataError(
                f"image with {' and '.join(sorted(dtypes))} pixels",
                where=path,
                expected="8 bits a channel",
                remedy="train with `levels` in dataset.yaml (`semiseg data levels`), or scale it to 8 bits yourself",
            )
        if self.shape[0] * self.shape[1] > MAX_PIXELS:
            raise DataError(
                f"image of {self.shape[1]} x {self.shape[0]} pixels is larger than the cap",
                where=path,
                expected=f"at most {MAX_PIXELS:,} pixels",
                remedy="cut it into tiles",
            )

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[np.uint8]:
        """Read rows and columns, (h, w, 3) uint8; raises DataError if they are damaged."""
        rows, columns = (part.indices(side)[:2] for part, side in zip(window, self.shape, strict=False))
        try:
            with _open(self.path) as source:
                if self._bands:
                    values_CHW = source.read(list(self._bands.chosen) or None, window=(rows, columns))
                    return self._bands.picture(values_CHW.transpose(1, 2, 0), self.path)
                bands = [1, 2, 3] if source.count >= 3 else [1]
                pixels_CHW: NDArray[np.uint8] = source.read(bands, window=(rows, columns))
                table_V3 = _colour_table(source)
        except OSError as error:
            raise self._damaged(error) from error
        if len(pixels_CHW) == 1:
            coloured: NDArray[np.uint8] = table_V3[pixels_CHW[0]]
            return coloured
        return np.ascontiguousarray(pixels_CHW.transpose(1, 2, 0))

    def _damaged(self, error: OSError) -> DataError:
        reason = str(error.__cause__ or error).splitlines()[0]  # rasterio's own words point to the cause
        return DataError(f"damaged image ({reason})", where=self.path, remedy="replace the file or leave it out")


def is_georeferenced(path: Path) -> bool:
    """Whether a file is a TIFF whose tags say where it lies; needs no rasterio."""
    if path.suffix.lower() not in _SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            header = file.read(8)
            if 43 in header[2:4]:  # BigTIFF
                header += file.read(8)
            tags = ImageFileDirectory_v2(header)
            file.seek(tags.next)
            tags.load(file)
    except (OSError, SyntaxError, ValueError, struct.error):
        return False  # whoever reads it says why
    return _TRANSFORM in tags or (_SCALE in tags and _TIEPOINT in tags)


def has_rasterio() -> bool:
    """Whether the extra `geo` is installed."""
    return find_spec("rasterio") is not None


def write_geotiff(mask_HW: NDArray[np.uint8], palette: Palette, georeference: Georeference, path: Path) -> None:
    """Write a mask as a compressed GeoTIFF with the colours of the classes and the mark, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    import rasterio

    with (
        whole_file(path) as draft,
        rasterio.open(
            draft,
            "w",
            driver="GTiff",
            height=mask_HW.shape[0],
            width=mask_HW.shape[1],
            count=1,
            dtype="uint8",
            crs=georeference.crs,
            transform=georeference.transform,
            compress="deflate",
            bigtiff="if_safer",
        ) as file,
    ):
        file.update_tags(TIFFTAG_SOFTWARE=MARK)
        file.write_colormap(1, {number: (*colour, 255) for number, colour in enumerate(palette)})
        file.write(mask_HW, 1)


def _open(path: Path) -> DatasetReader:
    """Open a TIFF; other drivers of GDAL follow references to other files and servers."""
    import rasterio

    return rasterio.open(path, driver="GTiff")


def _colour_table(source: DatasetReader) -> NDArray[np.uint8]:
    """Return the colour of each value of the first band, (256, 3)."""
    try:
        colours = source.colormap(1)
    except ValueError:  # no colour table: grey
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    return np.array([colours.get(value, (0, 0, 0))[:3] for value in range(256)], dtype=np.uint8)


def _name(crs: CRS | None) -> str:
    return "unknown" if crs is None else crs.to_string()
