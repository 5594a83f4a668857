"""Look at every file a run will use before the first step, so that bad input costs no training time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from semiseg.data.datasets import Dataset
from semiseg.data.findings import Alone, Findings, Peers
from semiseg.data.lists import Sample
from semiseg.data.looking import Look, look_at_labeled, look_at_unlabeled
from semiseg.data.prefetch import prefetch
from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError

_THREADS = 8  # each holds one decoded image


def check_dataset(dataset: Dataset, max_pixels: int, *, unlabeled: bool, peers: Peers | None = None) -> Findings:
    """Decode every labeled and val image and mask, and read the header of every unlabeled image.

    Args:
        dataset: what the run will use.
        max_pixels: the size cap of `data.max_pixels`.
        unlabeled: whether the method uses the unlabeled images.
        peers: the processes that share the work; each of them must call, and gets or raises the same.

    Returns:
        What was found of all files.

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
    found, peers = Findings(), peers or Alone()
    masked = [("labeled", sample) for sample in dataset.labeled] + [("val", sample) for sample in dataset.val]
    _look(found, masked, peers, lambda sample: look_at_labeled(sample, dataset.spec, max_pixels))
    if unlabeled:
        unmasked = [("unlabeled", sample) for sample in dataset.unlabeled]
        _look(found, unmasked, peers, lambda sample: look_at_unlabeled(sample, max_pixels), first=len(masked))
    found = found.shared(peers)
    found.raise_faults()
    _refuse_ignored_class(found, dataset.spec)
    return found


def check_labeled(samples: Sequence[Sample], spec: DatasetSpec, max_pixels: int) -> Findings:
    """Decode every image and mask of `samples` to evaluate on; returns and raises as `check_dataset`."""
    found = Findings()
    val = [("val", sample) for sample in samples]
    _look(found, val, Alone(), lambda sample: look_at_labeled(sample, spec, max_pixels))
    found.raise_faults()
    return found


def _look(
    found: Findings,
    samples: Sequence[tuple[str, Sample]],
    peers: Peers,
    look: Callable[[Sample], Look],
    *,
    first: int = 0,
) -> None:
    """Look at this process's share of some samples, each with its part's name; `first` is the number of the first."""

    def seen(item: tuple[str, Sample]) -> Look | str:
        try:
            return look(item[1])
        except DataError as error:
            return str(error)

    mine = samples[peers.rank :: peers.count]
    looks = prefetch(seen, mine, ahead=4 * _THREADS, threads=_THREADS)
    for place, ((part, _), result) in enumerate(zip(mine, looks, strict=True)):
        if isinstance(result, str):
            found.faults.append((first + peers.rank + place * peers.count, result))
        else:
            found.add(part, result)


def _refuse_ignored_class(found: Findings, spec: DatasetSpec) -> None:
    """Refuse masks of 0 and 255 that were not said to be such: the second class would be ignored in silence."""
    present = {value for images in found.images.values() for value in images}
    if spec.mask_values is None and present == {0, spec.ignore_value}:
        raise DataError(
            f"no mask shows a class but {spec.classes[0]!r}; all else is {spec.ignore_value}, which is ignored",
            where=spec.name,
            expected="masks of class ids",
            remedy=f"if {spec.ignore_value} is a class, write `mask_values: {{0: 0, {spec.ignore_value}: 1}}` in "
            "dataset.yaml",
        )
