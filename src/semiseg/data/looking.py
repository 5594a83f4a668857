"""A look at the files of one sample, before anybody learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiseg.data.fingerprints import Fingerprint, take_fingerprint
from semiseg.data.lists import Sample
from semiseg.data.reading import image_size, read_image
from semiseg.data.spec import DatasetSpec, read_class_ids
from semiseg.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen of one sample.

    Attributes:
        files: each file's path and what tells its content from another.
        pixels: of each class id and the ignore value in its mask, the number of pixels; empty without a mask.
    """

    files: dict[str, Fingerprint]
    pixels: dict[int, int]


def look_at_unlabeled(sample: Sample, max_pixels: int) -> Look:
    """Read the headers of an unlabeled sample's images.

    Raises:
        DataError: one is missing, unreadable or too large, or the images of a pair differ in size.
    """
    _refuse_unequal(sample, [image_size(path, max_pixels) for path in sample.frames])
    return Look(files={str(path): take_fingerprint(path, hashed=False) for path in sample.frames}, pixels={})


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
    mask_HW = read_class_ids(sample.mask, spec, max_pixels)
    if sizes[0] != mask_HW.shape[::-1]:
        raise DataError(
            f"image of {_text(sizes[0])} and mask of {mask_HW.shape[1]} x {mask_HW.shape[0]} pixels",
            where=f"{sample.frames[0]} and {sample.mask}",
            expected="the same size",
            remedy="draw the mask on the image as it is",
        )
    return Look(
        files={str(path): take_fingerprint(path, hashed=True) for path in (*sample.frames, sample.mask)},
        pixels=_pixels(mask_HW),
    )


def _pixels(mask_HW: NDArray[np.uint8]) -> dict[int, int]:
    counts = np.bincount(mask_HW.ravel())
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


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
