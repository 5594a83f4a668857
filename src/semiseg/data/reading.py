"""Read images and masks from disk: bounded, from an allow-list of formats, upright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from semiseg.data.members import archive_of, open_bytes
from semiseg.data.predicted import refuse_predicted
from semiseg.data.reduction import reduce_image, reduced_size
from semiseg.errors import DataError, SemisegError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
"""Photographs of telephones; read where the extra `heic` is installed, else passed over."""
HAS_HEIC = find_spec("pillow_heif") is not None
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", *(HEIC_SUFFIXES if HAS_HEIC else ()))
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 100_000_000

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image of an EXIF orientation upright (EXIF 2.32, tag 0x0112)."""

WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L")
"""Pillow's modes of one band deeper than 8 bits."""


_DEEP = (";16B", ";16L", ";16N")


def open_image(path: Path, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Open an image without decoding its pixels and check format and size.

    Raises:
        DataError: the file is missing, is no image of an allowed format, or claims more than `max_pixels` pixels.
    """
    # Pillow's own cap holds for the whole process; whoever raises ours wants to read such images.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or max_pixels, max_pixels)
    try:
        image = Image.open(open_bytes(path) if archive_of(path) else path, formats=_formats(path))
    except FileNotFoundError as error:
        raise DataError("image not found", where=path, remedy="correct the list or restore the file") from error
    except Image.DecompressionBombError as error:
        raise _too_large("image", path, max_pixels) from error
    except Exception as error:  # a parser of strange bytes raises anything, from struct.error to ZeroDivisionError
        raise DataError(
            f"unreadable image ({_reason(error)})",
            where=path,
            expected="a whole " + ", ".join(IMAGE_FORMATS) + " file",
            remedy="replace the file or take it out of the data set",
        ) from error
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise _too_large(f"image of {width} x {height} pixels", path, max_pixels)
    return image


def _formats(path: Path) -> tuple[str, ...]:
    """Return what a file may be; HEIC only where it is called so, as its library is loaded for it."""
    if not HAS_HEIC or path.suffix.lower() not in HEIC_SUFFIXES:
        return IMAGE_FORMATS
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return (*IMAGE_FORMATS, "HEIF")


def _too_large(what: str, path: Path, max_pixels: int) -> DataError:
    return DataError(
        f"{what} is larger than the cap",
        where=path,
        expected=f"at most {max_pixels:,} pixels",
        remedy="cut it into tiles, or raise data.max_pixels (of predict --max-pixels) if you trust the file",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known format"  # Pillow's own words repeat the path
    return str(error) or type(error).__name__


@contextmanager
def _reading(what: str, path: Path) -> Iterator[None]:
    """Turn whatever Pillow's parsers stumble over into an error that names the file."""
    try:
        yield
    except SemisegError:
        raise
    except Exception as error:
        remedy = "replace the file or take it out of the data set"
        raise DataError(f"damaged {what} ({_reason(error)})", where=path, remedy=remedy) from error


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Return how the file holds its pixels; Pillow widens 2 and 4 bits to 8 and cuts colours of 16 bits down to 8."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _refuse_no_photograph(image: ImageFile.ImageFile, path: Path) -> None:
    """Refuse pixels of which Pillow would show a part: 16 bits cut down to 8, three of five bands."""
    raw = _raw_mode(image)
    if image.mode in WIDE_MODES or raw.endswith(_DEEP):
        raise DataError(
            f"image with {raw or image.mode} pixels",
            where=path,
            expected="8 bits a channel",
            remedy="`semiseg data levels FOLDER` measures what becomes 0 and 255 and writes it into dataset.yaml; or "
            "scale it to 8 bits yourself",
        )
    bands = _bands_beside_colours(image)
    if bands:
        raise DataError(
            f"image with {bands} more band{'s' * (bands > 1)} than its colours",
            where=path,
            expected="gray or three colours, perhaps with alpha",
            remedy="`semiseg data levels FOLDER --bands R G B` says in dataset.yaml which three are shown; or write "
            "them as an RGB image",
        )


def _bands_beside_colours(image: ImageFile.ImageFile) -> int:
    """Return how many bands a TIFF has that are neither colours nor alpha (TIFF 6.0: tags 262, 277, 338)."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    colours = {2: 3, 5: 4, 6: 3, 8: 3}.get(
        int(image.tag_v2.get(262, 1)), 1
    )  # RGB, CMYK, YCbCr, Lab; else gray or a palette
    extra = int(image.tag_v2.get(277, 1)) - colours
    alpha = extra == 1 and image.tag_v2.get(338) in ((1,), (2,))
    return 0 if alpha else max(extra, 0)


def _orientation(image: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation, 1 to 8, where Pillow does not apply it itself; broken metadata say nothing."""
    if image.format in ("TIFF", "HEIF"):
        return 1
    try:
        # Of the base class: the one of PNG decodes the whole image to look for EXIF behind the pixels.
        found = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # as viewers do: the pixels are good
        return 1
    return found if found in _UPRIGHT else 1


def is_whole(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow shows all of an image: no bands beside its colours, no colours of 16 bits cut down to 8."""
    is_cut = image.mode not in WIDE_MODES and _raw_mode(image).endswith(_DEEP)
    return not is_cut and not _bands_beside_colours(image)


def upright(image: ImageFile.ImageFile, pixels: Image.Image) -> Image.Image:
    """Return the pixels of an image as its EXIF orientation has them."""
    turned = _UPRIGHT.get(_orientation(image))
    return pixels if turned is None else pixels.transpose(turned)


def upright_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Return (width, height) of the upright image."""
    width, height = image.size
    return (height, width) if _orientation(image) >= 5 else (width, height)


def read_image(path: Path, max_pixels: int = MAX_PIXELS, long_side: int | None = None) -> Image.Image:
    """Decode an image as 8-bit RGB with its EXIF orientation applied, in one copy if it is upright RGB.

    Args:
        path: of the image.
        max_pixels: the largest that is opened.
        long_side: a longer one is reduced, see `reduced_size`; a JPEG is decoded at a half, a quarter or an eighth of
            its sides where that is enough: libjpeg scales while it transforms, and leaves out most of the work.

    Raises:
        DataError: as `open_image`, or the pixels are damaged, deeper than 8 bits or of more bands than colours.
    """
    with _reading("image", path), open_image(path, max_pixels) as image:
        _refuse_no_photograph(image, path)
        whole, size = image.size, reduced_size(image.size, long_side)
        drafted = image.draft(None, size) if size != whole else None
        image.load()
        pixels = image if image.mode == "RGB" else image.convert("RGB")
        if drafted:
            return upright(image, reduce_image(pixels, size, drafted[1]))
        # Of the decoded size: a TIFF with broken tags may tell its orientation only now.
        return upright(image, reduce_image(pixels, reduced_size(pixels.size, long_side)))


def image_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (width, height) of the upright image from its header alone.

    Raises:
        DataError: as `open_image`, or the image is deeper than 8 bits or of more bands than colours.
    """
    with _reading("image", path), open_image(path, max_pixels) as image:
        _refuse_no_photograph(image, path)
        return upright_size(image)


def read_mask(path: Path, max_pixels: int = MAX_PIXELS, *, accept_predicted: bool = False) -> NDArray[np.uint8]:
    """Read a mask of class ids (H, W), uint8; a palette image gives its indices.

    Raises:
        DataError: as `open_image`, not a single-channel image of ids, of a format that changes values, damaged, ids
            above 255, or not accepted because `semiseg predict` wrote it.
    """
    with _reading("mask", path), open_image(path, max_pixels) as image:
        _refuse_lossy(image, path)
        _refuse_colours(image, path)
        if not accept_predicted:
            refuse_predicted(image, path)
        values = np.asarray(image)
    if values.dtype != np.uint8 and (values.min() < 0 or values.max() > 255):
        raise DataError(
            f"mask with class ids from {values.min()} to {values.max()}",
            where=path,
            expected="ids from 0 to 255",
            remedy="renumber the classes",
        )
    return values.astype(np.uint8, copy=False)


@dataclass(frozen=True)
class Drawing:
    """A mask with its colours.

    Attributes:
        pixels: indices (H, W) of a palette image, else colours (H, W, 3); uint8. What is transparent is black.
        palette: the colours of the indices; empty where the pixels are colours.
    """

    pixels: NDArray[np.uint8]
    palette: tuple[tuple[int, int, int], ...] = ()

    def colour(self, index: int) -> tuple[int, int, int]:
        """Return the colour of an index; black beyond the palette, as programs draw it."""
        return self.palette[index] if index < len(self.palette) else (0, 0, 0)


def read_drawing(path: Path, max_pixels: int = MAX_PIXELS, *, accept_predicted: bool = False) -> Drawing | None:
    """Read a mask with colours; None if it has none, and its values have to say what they are.

    Raises:
        DataError: as `read_mask`, but for the colours.
    """
    with _reading("mask", path), open_image(path, max_pixels) as image:
        if image.mode not in ("P", "PA", "RGB", "RGBA"):
            return None
        _refuse_lossy(image, path)
        _refuse_no_photograph(image, path)
        if not accept_predicted:
            refuse_predicted(image, path)
        if image.mode == "P":
            levels = image.getpalette("RGB") or []
            return Drawing(np.asarray(image), tuple(zip(levels[0::3], levels[1::3], levels[2::3], strict=False)))
        pixels_HW4 = np.array(image.convert("RGBA"))
        pixels_HW4[pixels_HW4[..., 3] == 0] = 0
        return Drawing(np.ascontiguousarray(pixels_HW4[..., :3]))


def mask_palette(path: Path, max_pixels: int = MAX_PIXELS) -> list[tuple[int, int, int]]:
    """Return the colours of a palette image by its indices, from the header alone; none where values are the ids.

    Raises:
        DataError: as `open_image`.
    """
    with _reading("mask", path), open_image(path, max_pixels) as image:
        levels = (image.getpalette("RGB") if image.mode == "P" else None) or []
        return list(zip(levels[0::3], levels[1::3], levels[2::3], strict=False))


def _refuse_lossy(image: ImageFile.ImageFile, path: Path) -> None:
    if image.format in ("JPEG", "MPO") or image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"):
        raise DataError(
            "mask with JPEG compression, which changes class ids at every border",
            where=path,
            expected="a format that keeps values, such as PNG",
            remedy="save it as a single-channel PNG, from the original drawing",
        )


def _refuse_colours(image: ImageFile.ImageFile, path: Path) -> None:
    raw = _raw_mode(image)
    if image.mode not in ("L", "P", "1", *WIDE_MODES) or image.mode == "F":
        raise DataError(
            f"mask with {image.mode} pixels",
            where=path,
            expected="one channel of class ids (PNG of mode L or P)",
            remedy="give the colours of the classes as `palette` in dataset.yaml, or convert colours to class ids and "
            "save a single-channel PNG",
        )
    if raw.startswith(("L;2", "L;4")):  # gray levels there: id 1 would be read as 85 or 17
        raise DataError(
            f"mask with {raw[2]} bits a pixel",
            where=path,
            expected="8 bits a pixel, or a palette",
            remedy="save the mask as a PNG of mode L or P",
        )
