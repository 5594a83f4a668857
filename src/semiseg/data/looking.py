"""A look at the files of one sample, before anybody learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semiseg.data.fingerprints import Fingerprint, take_fingerprint
from semiseg.data.lists import Sample
from semiseg.data.palette import Colour
from semiseg.data.reading import image_size, mask_palette, read_image, read_mask
from semiseg.data.spec import DatasetSpec, present_values, to_class_ids
from semiseg.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen of one sample.

    Attributes:
        files: each file's path and what tells its content from another.
        pixels: of each class id and the ignore value in its mask, the number of pixels; empty without a mask.
        colours: of each value in its mask, the colour, if the mask has a palette.
        mask: path of the mask, if there is one.
    """

    files: dict[str, Fingerprint]
    pixels: dict[int, int] = field(default_factory=dict)
    colours: dict[int, Colour] = field(default_factory=dict)
    mask: Path | None = None


def look_at_unlabeled(sample: Sample, max_pixels: int) -> Look:
    """Read the headers of an unlabeled sample's images.

    Raises:
        DataError: one is missing, unreadable or too large, or the images of a pair differ in size.
    """
    _refuse_unequal(sample, [image_size(path, max_pixels) for path in sample.frames])
    return Look(
        files={str(path): take_fingerprint(path, hashed=False) for path in sample.frames},
        pixels={},
        colours={},
        mask=None,
    )


def look_at_labeled(sample: Sample, spec: DatasetSpec, max_pixels: int) -> Look:
    """Decode the images and the mask of a sample, and hash them.

    Raises:
        DataError: one is missing, damaged or too large, they differ in size, or the mask holds a value of no class.
    """
    if sample.mask is None:
        raise DataError(
            "no mask listed", where=sample.id, expected="a mask for it in the list", remedy="list it, or draw it"
        )
    sizes = [read_image(path, max_pixels).size for path in sample.frames]
    _refuse_unequal(sample, sizes)
    values_HW = read_mask(sample.mask, max_pixels, accept_predicted=spec.accept_predicted)
    mask_HW = to_class_ids(values_HW, sample.mask, spec)
    if sizes[0] != mask_HW.shape[::-1]:
        raise DataError(
            f"image of {_text(sizes[0])} and mask of {mask_HW.shape[1]} x {mask_HW.shape[0]} pixels",
            where=f"{sample.frames[0]} and {sample.mask}",
            expected="the same size",
            remedy="draw the mask on the image as it is",
        )
    palette = mask_palette(sample.mask, max_pixels)
    return Look(
        files={str(path): take_fingerprint(path, hashed=True) for path in (*sample.frames, sample.mask)},
        pixels=present_values(mask_HW),
        colours={value: palette[value] for value in present_values(values_HW) if value < len(palette)},
        mask=sample.mask,
    )


def _refuse_unequal(sample: Sample, sizes: Sequence[tuple[int, int]]) -> None:
    if len(set(sizes)) > 1:
        raise DataError(
            f"images of {' and '.join(map(_text, sizes))} pixels",
            where=" and ".join(map(str, sample.frames)),
            expected="the same size, pixel on pixel",
            remedy="cut both images of a pair to the same piece of land",
        )


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
