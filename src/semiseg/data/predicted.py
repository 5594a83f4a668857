"""The mark of masks that `semiseg predict` or `data suggest` wrote: training does not take them for labels unasked."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile, ZipFile

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from semiseg.errors import DataError

MARK = "semiseg predict"
"""What a file says of the software that made it: the text `Software` of a PNG, the tag of a TIFF, the comment of a JPEG
or of an npz."""
MARKER = "predicted_by_semiseg.json"
"""A file beside the masks that says so too, also where another program has rewritten them."""

_SOFTWARE = 305  # TIFF 6.0, section 8
# Opened by their own class, as Pillow's cap on pixels is for images, and a mask may be larger.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    ".png": PngImagePlugin.PngImageFile,
    ".tif": TiffImagePlugin.TiffImageFile,
    ".tiff": TiffImagePlugin.TiffImageFile,
    ".jpg": JpegImagePlugin.JpegImageFile,
}


def png_mark() -> PngImagePlugin.PngInfo:
    """Return what `PIL.Image.Image.save` takes as `pnginfo` to write the mark."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", MARK)
    return info


def is_predicted(path: Path) -> bool:
    """Whether a file carries the mark; reads its header only."""
    if path.suffix.lower() == ".npz":
        return _is_marked_archive(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        return False
    try:
        with reader(path) as image:
            return _carries_mark(image)
    except (OSError, SyntaxError, ValueError):
        return False


def mark_archive(path: Path) -> None:
    """Write the mark into an npz, which is a zip."""
    with ZipFile(path, "a") as archive:
        archive.comment = MARK.encode()


def _is_marked_archive(path: Path) -> bool:
    try:
        with ZipFile(path) as archive:
            return archive.comment == MARK.encode()
    except (OSError, BadZipFile, ValueError):
        return False


def refuse_predicted(image: Image.Image, path: Path) -> None:
    """Refuse to take a prediction for a label.

    Args:
        image: the opened mask.
        path: its file.

    Raises:
        DataError: it carries the mark, or lies beside a `MARKER`.
    """
    marker = path.parent / MARKER
    marked = _carries_mark(image)
    if marked or marker.exists():
        raise DataError(
            "a mask that `semiseg predict` wrote, not a label",
            where=path if marked else f"{path}, beside {MARKER}",
            expected="masks that a person has drawn or corrected",
            remedy="take it out of the masks; or, to learn from predictions on purpose, pass --data.accept_predicted "
            f"true; of masks that you have corrected remove {MARKER}, or bring them back by `semiseg data import`",
        )


def _carries_mark(image: Image.Image) -> bool:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(image.tag_v2.get(_SOFTWARE) == MARK)
    return image.info.get("Software") == MARK or MARK.encode() == image.info.get("comment")
