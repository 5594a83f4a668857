"""Look at every file a run will use before the first step, so that bad input costs no training time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from semiseg.data.datasets import Dataset
from semiseg.data.lists import Sample
from semiseg.data.reading import image_size, read_image
from semiseg.data.spec import DatasetSpec, read_class_ids
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
        DataError: a list is empty, a file is missing, unreadable or too large, a pair or an image and its mask are not
            of one size, a mask holds a value that is neither a class nor the ignore value, or all masks together show
            one class and ignore the rest. All faults are named, up to a cap.
    """
    if unlabeled and not dataset.unlabeled:
        raise DataError(
            "no unlabeled images",
            where=dataset.spec.name,
            remedy="add images without a mask, pass --data.unlabeled FOLDER, or train with --method supervised",
        )
    masked = {sample.frames: sample for sample in (*dataset.labeled, *dataset.val)}.values()
    present: set[int] = set()
    _raise_all(_faults(masked, lambda sample: present.update(_check_masked(sample, dataset.spec, max_pixels))))
    _refuse_ignored_class(present, dataset.spec)
    if unlabeled:
        _raise_all(_faults(dataset.unlabeled, lambda sample: _check_unmasked(sample, max_pixels)))


def check_labeled(samples: Iterable[Sample], spec: DatasetSpec, max_pixels: int) -> None:
    """Decode every image and mask of `samples`; raises as `check_dataset`."""
    _raise_all(_faults(samples, lambda sample: _check_masked(sample, spec, max_pixels)))


def _check_unmasked(sample: Sample, max_pixels: int) -> None:
    _refuse_unequal(sample, [image_size(path, max_pixels) for path in sample.frames])


def _check_masked(sample: Sample, spec: DatasetSpec, max_pixels: int) -> set[int]:
    """Return the class ids in its mask."""
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
    return set(np.flatnonzero(np.bincount(mask_HW.ravel())).tolist())


def _refuse_ignored_class(present: set[int], spec: DatasetSpec) -> None:
    """Refuse masks of 0 and 255 that were not said to be such: the second class would be ignored in silence."""
    if spec.mask_values is None and present == {0, spec.ignore_value}:
        raise DataError(
            f"no mask shows a class but {spec.classes[0]!r}; all else is {spec.ignore_value}, which is ignored",
            where=spec.name,
            expected="masks of class ids",
            remedy=f"if {spec.ignore_value} is a class, write `mask_values: {{0: 0, {spec.ignore_value}: 1}}` in "
            "dataset.yaml",
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
