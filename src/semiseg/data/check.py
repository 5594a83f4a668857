"""Look at every file a run will use before the first step, so that bad input costs no training time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence

from semiseg.data.bands import Shown
from semiseg.data.datasets import Dataset
from semiseg.data.findings import Alone, Findings, Peers
from semiseg.data.index import in_memory, named
from semiseg.data.lists import Sample
from semiseg.data.looking import Look, look_at_header, look_at_images, look_at_labeled
from semiseg.data.prefetch import prefetch
from semiseg.data.spec import DatasetSpec
from semiseg.data.ticks import Tick, no_tick
from semiseg.errors import DataError

_THREADS = max(8, os.cpu_count() or 1)  # each holds one decoded image

_Job = tuple[str, Sample, Callable[[Sample], Look]]


def check_dataset(
    dataset: Dataset,
    max_pixels: int,
    *,
    unlabeled: bool,
    peers: Peers | None = None,
    damaged: Collection[str] = (),
    tick: Tick = no_tick,
) -> Findings:
    """Decode every labeled and val image and mask, and read the header of every unlabeled image that no index knows.

    Args:
        dataset: what the run will use.
        max_pixels: the size cap of `data.max_pixels`.
        unlabeled: whether the method uses the unlabeled images.
        peers: the processes that share the work; each of them must call, and gets or raises the same.
        damaged: unlabeled samples that are known to be damaged; they are decoded, and are no fault if they still are.
        tick: called with the number of samples done and of all, of this process.

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
    look = look_at_header if unlabeled else None
    found = look_at_all(dataset, max_pixels, unlabeled=look, peers=peers, damaged=damaged, tick=tick)
    found.raise_faults()
    refuse_ignored_class(found, dataset.spec)
    return found


def look_at_all(
    dataset: Dataset,
    max_pixels: int,
    *,
    unlabeled: Callable[[Sample, int, Shown], Look] | None,
    peers: Peers | None = None,
    damaged: Collection[str] = (),
    tick: Tick = no_tick,
) -> Findings:
    """Look at every file but those of an index, and raise nothing; arguments as of `check_dataset`, and what it found.

    Args:
        dataset: the samples.
        max_pixels: the size cap.
        unlabeled: how to look at an unlabeled sample; None: not at all.
        peers: the processes that share the work.
        damaged: unlabeled samples that are known to be damaged.
        tick: called with the number of samples done and of all, of this process.
    """
    found, peers, shown = Findings(), peers or Alone(), dataset.spec.shown
    known = named(dataset.unlabeled, damaged)
    jobs: list[_Job] = []
    for part, samples in (("labeled", dataset.labeled), ("val", dataset.val)):
        jobs += [(part, sample, lambda sample: look_at_labeled(sample, dataset.spec, max_pixels)) for sample in samples]
    if unlabeled:
        unmasked = [sample for sample in in_memory(dataset.unlabeled) if sample.id not in damaged]
        jobs += [("unlabeled", sample, lambda sample: unlabeled(sample, max_pixels, shown)) for sample in unmasked]
        jobs += [("damaged", sample, lambda sample: look_at_images(sample, max_pixels, shown)) for sample in known]
    _look(found, jobs, peers, tick)
    found = found.shared(peers)
    found.faults += [(len(jobs), fault) for fault in dataset.faults if unlabeled]
    return found


def check_labeled(samples: Sequence[Sample], spec: DatasetSpec, max_pixels: int, tick: Tick = no_tick) -> Findings:
    """Decode every image and mask of `samples` to evaluate on; returns and raises as `check_dataset`."""
    found = look_at_all(Dataset(spec, (), (), tuple(samples)), max_pixels, unlabeled=None, tick=tick)
    found.raise_faults()
    return found


def _look(found: Findings, jobs: Sequence[_Job], peers: Peers, tick: Tick) -> None:
    """Do this process's share of the jobs."""

    def seen(job: _Job) -> Look | str:
        try:
            return job[2](job[1])
        except DataError as error:
            return str(error)

    mine = jobs[peers.rank :: peers.count]
    tick(0, len(mine))
    looks = prefetch(seen, mine, ahead=4 * _THREADS, threads=_THREADS)
    for place, ((part, sample, _), result) in enumerate(zip(mine, looks, strict=True)):
        if not isinstance(result, str):
            found.add("unlabeled" if part == "damaged" else part, sample, result)
        elif part == "damaged":
            found.damaged[sample.id] = result
        else:
            found.faults.append((peers.rank + place * peers.count, result))
        tick(place + 1, len(mine))


def refuse_ignored_class(found: Findings, spec: DatasetSpec) -> None:
    """Refuse masks of 0 and 255 that were not said to be such: the second class would be ignored in silence.

    Raises:
        DataError: these are.
    """
    present = {value for images in found.images.values() for value in images}
    if spec.mask_values is None and present == {0, spec.ignore_value}:
        raise DataError(
            f"no mask shows a class but {spec.classes[0]!r}; all else is {spec.ignore_value}, which is ignored",
            where=spec.name,
            expected="masks of class ids",
            remedy=f"if {spec.ignore_value} is a class, write `mask_values: {{0: 0, {spec.ignore_value}: 1}}` in "
            "dataset.yaml",
        )
