"""Read images and masks from disk: bounded, from an allow-list of formats, upright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from semiseg.data.predicted import refuse_predicted
from semiseg.errors import DataError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 100_000_000

_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L")


def open_image(path: Path, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Open an image without decoding its pixels and check format and size.

    Raises:
        DataError: the file is missing, is no image of an allowed format, or claims more than `max_pixels` pixels.
    """
    # Pillow's own cap holds for the whole process; whoever raises ours wants to read such images.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or max_pixels, max_pixels)
    try:
        image = Image.open(path, formats=IMAGE_FORMATS)
    except FileNotFoundError as error:
        raise DataError("image not found", where=path, remedy="correct the list or restore the file") from error
    except Image.DecompressionBombError as error:
        raise _too_large("image", path, max_pixels) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"unreadable image ({error})",
            where=path,
            expected="a whole " + ", ".join(IMAGE_FORMATS) + " file",
            remedy="replace the file or take it out of the data set",
        ) from error
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise _too_large(f"image of {width} x {height} pixels", path, max_pixels)
    return image


def _too_large(what: str, path: Path, max_pixels: int) -> DataError:
    return DataError(
        f"{what} is larger than the cap",
        where=path,
        expected=f"at most {max_pixels:,} pixels",
        remedy="cut it into tiles, or raise data.max_pixels (of predict --max-pixels) if you trust the file",
    )


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Return how the file holds its pixels; Pillow widens 2 and 4 bits to 8 and cuts colours of 16 bits down to 8."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _refuse_deep(image: ImageFile.ImageFile, path: Path) -> None:
    raw = _raw_mode(image)
    if image.mode in _WIDE_MODES or raw.endswith((";16B", ";16L", ";16N")):
        raise DataError(
            f"image with {raw or image.mode} pixels",
            where=path,
            expected="8 bits a channel",
            remedy="scale it to 8 bits yourself, so that the contrast is what you want",
        )


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image as 8-bit RGB with its EXIF orientation applied.

    Raises:
        DataError: as `open_image`, or the pixels are damaged or deeper than 8 bits.
    """
    try:
        with open_image(path, max_pixels) as image:
            _refuse_deep(image, path)
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged("image", path, error) from error


def _damaged(what: str, path: Path, error: Exception) -> DataError:
    return DataError(f"damaged {what} ({error})", where=path, remedy="replace the file or take it out of the data set")


def image_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (width, height) of the upright image from its header alone.

    Raises:
        DataError: as `open_image`, or the image is deeper than 8 bits.
    """
    try:
        with open_image(path, max_pixels) as image:
            _refuse_deep(image, path)
            # Of the base class: the one of PNG decodes the whole image to look for EXIF behind the pixels.
            orientation = Image.Image.getexif(image).get(0x0112, 1)
            width, height = image.size
            turned = orientation in (5, 6, 7, 8) and image.format != "TIFF"  # of which Pillow knows the upright size
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged("image", path, error) from error
    return (height, width) if turned else (width, height)


def read_mask(path: Path, max_pixels: int = MAX_PIXELS, *, accept_predicted: bool = False) -> NDArray[np.uint8]:
    """Read a mask of class ids (H, W), uint8; a palette image gives its indices.

    Raises:
        DataError: as `open_image`, not a single-channel image of ids, damaged, ids above 255, or not accepted because
            `semiseg predict` wrote it.
    """
    try:
        with open_image(path, max_pixels) as image:
            _refuse_colours(image, path)
            if not accept_predicted:
                refuse_predicted(image, path)
            values = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged("mask", path, error) from error
    if values.dtype != np.uint8 and (values.min() < 0 or values.max() > 255):
        raise DataError(
            f"mask with class ids from {values.min()} to {values.max()}",
            where=path,
            expected="ids from 0 to 255",
            remedy="renumber the classes",
        )
    return values.astype(np.uint8)


def _refuse_colours(image: ImageFile.ImageFile, path: Path) -> None:
    raw = _raw_mode(image)
    if image.mode not in ("L", "P", "1", *_WIDE_MODES) or image.mode == "F":
        raise DataError(
            f"mask with {image.mode} pixels",
            where=path,
            expected="one channel of class ids (PNG of mode L or P)",
            remedy="convert colours to class ids and save a single-channel PNG",
        )
    if raw.startswith(("L;2", "L;4")):  # gray levels there: id 1 would be read as 85 or 17
        raise DataError(
            f"mask with {raw[2]} bits a pixel",
            where=path,
            expected="8 bits a pixel, or a palette",
            remedy="save the mask as a PNG of mode L or P",
        )
