"""Look at every file a run will use before the first step, so that bad input costs no training time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from semiseg.data.datasets import Dataset
from semiseg.data.lists import Sample
from semiseg.data.reading import image_size, read_image, read_mask
from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError

_SHOWN = 10
_THREADS = 8  # each holds one decoded image


def check_dataset(dataset: Dataset, max_pixels: int, *, unlabeled: bool) -> None:
    """Decode every labeled and val image and mask, and read the header of every unlabeled image.

    Args:
        dataset: what the run will use.
        max_pixels: the size cap of `data.max_pixels`.
        unlabeled: whether the method uses the unlabeled images.

    Raises:
        DataError: a list is empty, a file is missing, unreadable or too large, a mask is not of its image's size or
            holds a value that is neither a class nor the ignore value. All faults are named, up to a cap.
    """
    if unlabeled and not dataset.unlabeled:
        raise DataError(
            "no unlabeled images",
            where=dataset.spec.name,
            remedy="add images without a mask, pass --data.unlabeled FOLDER, or train with --method supervised",
        )
    masked = {sample.frames: sample for sample in (*dataset.labeled, *dataset.val)}.values()
    check_labeled(masked, dataset.spec, max_pixels)
    if unlabeled:
        _raise_all(_faults(dataset.unlabeled, lambda sample: [image_size(path, max_pixels) for path in sample.frames]))


def check_labeled(samples: Iterable[Sample], spec: DatasetSpec, max_pixels: int) -> None:
    """Decode every image and mask of `samples`; raises as `check_dataset`."""
    _raise_all(_faults(samples, lambda sample: _check_masked(sample, spec, max_pixels)))


def _check_masked(sample: Sample, spec: DatasetSpec, max_pixels: int) -> None:
    if sample.mask is None:
        raise DataError("no mask listed", where=sample.id, expected="`IMAGE MASK`", remedy="list its mask")
    mask_HW = read_mask(sample.mask, max_pixels)
    for path in sample.frames:
        size = read_image(path, max_pixels).size
        if size != mask_HW.shape[::-1]:
            raise DataError(
                f"image of {size[0]} x {size[1]} and mask of {mask_HW.shape[1]} x {mask_HW.shape[0]} pixels",
                where=f"{path} and {sample.mask}",
                expected="the same size",
                remedy="draw the mask on the image as it is",
            )
    present = np.flatnonzero(np.bincount(mask_HW.ravel(), minlength=256))
    wrong = [int(value) for value in present if value >= spec.num_classes and value != spec.ignore_value]
    if wrong:
        raise DataError(
            f"mask values {wrong[:8]} are no class",
            where=sample.mask,
            expected=f"0 to {spec.num_classes - 1}, or {spec.ignore_value} to ignore",
            remedy="renumber the mask, or correct classes and ignore_value in dataset.yaml",
        )


def _faults(samples: Iterable[Sample], check: Callable[[Sample], object]) -> list[str]:
    def fault(sample: Sample) -> str | None:
        try:
            check(sample)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return [found for found in pool.map(fault, samples) if found]


def _raise_all(faults: list[str]) -> None:
    if len(faults) == 1:
        raise DataError.of_text(faults[0])
    if faults:
        more = f"\n... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise DataError.of_text(f"{len(faults)} files cannot be used\n" + "\n".join(faults[:_SHOWN]) + more)
