"""Read images and masks from disk: bounded, from an allow-list of formats, upright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from semiseg.errors import DataError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 100_000_000

_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L")


def open_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image without decoding its pixels and check format and size.

    Raises:
        DataError: the file is missing, is no image of an allowed format, or claims more than `max_pixels` pixels.
    """
    try:
        image: Image.Image = Image.open(path, formats=IMAGE_FORMATS)
    except FileNotFoundError as error:
        raise DataError("image not found", where=path, remedy="correct the list or restore the file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"unreadable image ({error})",
            where=path,
            expected="a whole " + ", ".join(IMAGE_FORMATS) + " file",
            remedy="replace the file or take it out of the data set",
        ) from error
    width, height = image.size
    if width * height > max_pixels:
        raise DataError(
            f"image of {width} x {height} pixels is larger than the cap",
            where=path,
            expected=f"at most {max_pixels:,} pixels",
            remedy="cut it into tiles, or raise data.max_pixels if you trust the file",
        )
    return image


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image as 8-bit RGB with its EXIF orientation applied.

    Raises:
        DataError: as `open_image`, or the pixels are damaged or deeper than 8 bits.
    """
    image = open_image(path, max_pixels)
    if image.mode in _WIDE_MODES:
        raise DataError(
            f"image with {image.mode} pixels",
            where=path,
            expected="8 bits a channel",
            remedy="scale it to 8 bits yourself, so that the contrast is what you want",
        )
    try:
        return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"damaged image ({error})", where=path, remedy="replace the file or take it out of the data set"
        ) from error


def image_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (width, height) of the upright image from its header alone; raises as `open_image`."""
    image = open_image(path, max_pixels)
    width, height = image.size
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # 0x0112: orientation; 5 to 8 swap the sides
    return (height, width) if turned else (width, height)


def read_mask(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a mask of class ids (H, W), uint8; a palette image gives its indices.

    Raises:
        DataError: not a single-channel image, or ids above 255.
    """
    image = open_image(path, max_pixels)
    if image.mode not in ("L", "P", "1", *_WIDE_MODES) or image.mode == "F":
        raise DataError(
            f"mask with {image.mode} pixels",
            where=path,
            expected="one channel of class ids (PNG of mode L or P)",
            remedy="convert colours to class ids and save a single-channel PNG",
        )
    try:
        values = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"damaged mask ({error})", where=path, remedy="replace the file") from error
    if values.dtype != np.uint8 and (values.min() < 0 or values.max() > 255):
        raise DataError(
            f"mask with class ids from {values.min()} to {values.max()}",
            where=path,
            expected="ids from 0 to 255",
            remedy="renumber the classes",
        )
    return values.astype(np.uint8)
