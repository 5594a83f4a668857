"""Make new splits: few labeled images that show every class, the others unlabeled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.config import DataConfig
from semiseg.data.datasets import Pool, Val, hold_out, load_pool
from semiseg.data.lists import Sample, inside, write_list
from semiseg.data.source import Source, open_source
from semiseg.data.spec import DatasetSpec, present_values, read_class_ids
from semiseg.data.ticks import Tick, no_tick
from semiseg.errors import DataError
from semiseg.files import whole_folder
from semiseg.seeding import rng

_THREADS = 8  # each holds one decoded mask


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """What `split_dataset` wrote.

    Attributes:
        folder: where the lists are, `ROOT/splits/NAME`.
        labeled: number of labeled images.
        unlabeled: number of unlabeled images.
        val: number of images to evaluate on, which are in neither list.
        covered: classes that the labeled images show.
        absent: classes that no training mask shows.
        missed: classes that training masks show, but too few images are labeled to show them all.
        val_list: the list of held-out val images, written because none were named before; else None.
    """

    folder: Path
    labeled: int
    unlabeled: int
    val: int
    covered: tuple[str, ...]
    absent: tuple[str, ...]
    missed: tuple[str, ...]
    val_list: Path | None


def split_dataset(
    root: Path | str,
    labeled: int,
    *,
    seed: int,
    name: str,
    spec: str | None = None,
    splits: str | None = None,
    tick: Tick = no_tick,
) -> SplitSummary:
    """Write `ROOT/splits/NAME/labeled.txt` and `unlabeled.txt`, for `--data.split NAME`.

    Every mask to train on is read once. The labeled images are first those that show the rarest classes, then a seeded
    draw. Val images stay out; where none are named, a fifth of the images with a mask is held out as `load_dataset`
    would, and written to `ROOT/splits/val.txt`.

    Args:
        root: the data folder.
        labeled: number of labeled images, at least 1.
        seed: of the draw.
        name: of the split, a folder below `ROOT/splits`.
        spec: name of a data set the package knows, for a root without `dataset.yaml`.
        splits: folder of published lists, as `data.splits`.
        tick: called with the number of masks read and of all.

    Raises:
        DataError: the split exists or is published, there are no or fewer masks, one is unreadable; or as
            `load_dataset`. Nothing is written then.
        FileError: the lists cannot be written.
    """
    source = open_source(DataConfig(root=str(root), spec=spec, splits=splits))
    folder = _new_folder(name, source)
    pool, held_out = _apart(source)
    if not 1 <= labeled <= len(pool.masked):
        raise DataError(
            f"{labeled} labeled images wanted, {len(pool.masked)} with a mask found that are not evaluated on",
            where=source.root,
            expected=f"1 to {len(pool.masked)}",
            remedy="add masks, or label another number",
        )
    present_NK = read_presence(pool.masked, source.spec, tick)
    chosen = choose(present_NK, labeled, seed=seed)
    unlabeled = [pool.masked[index] for index in sorted(set(range(len(pool.masked))) - set(chosen))] + pool.unmasked
    val_list = source.root / "splits/val.txt" if held_out else None
    with whole_folder(folder) as draft:
        write_list(draft / "labeled.txt", [pool.masked[index] for index in chosen], source.root)
        if unlabeled:
            write_list(draft / "unlabeled.txt", unlabeled, source.root)
        if val_list:
            write_list(val_list, pool.val.samples, source.root)
    shown_K, present_K = _shown(present_NK[chosen]), _shown(present_NK)
    return SplitSummary(
        folder=folder,
        labeled=labeled,
        unlabeled=len(unlabeled),
        val=len(pool.val.samples),
        covered=_names(source, shown_K),
        absent=_names(source, ~present_K),
        missed=_names(source, present_K & ~shown_K),
        val_list=val_list,
    )


def read_presence(samples: Sequence[Sample], spec: DatasetSpec, tick: Tick = no_tick) -> NDArray[np.bool_]:
    """Read the mask of each sample once and return (N, K), whether it shows each class.

    Raises:
        DataError: a mask is missing or unreadable, or holds a value that is no class.
    """

    def shown(sample: Sample) -> NDArray[np.bool_]:
        assert sample.mask is not None
        shown_K = np.zeros(spec.num_classes, dtype=np.bool_)
        shown_K[[value for value in present_values(read_class_ids(sample.mask, spec)) if value < spec.num_classes]] = 1
        return shown_K

    with ThreadPoolExecutor(max_workers=_THREADS) as threads:
        found = []
        for presence_K in threads.map(shown, samples):
            found.append(presence_K)
            tick(len(found), len(samples))
        return np.stack(found)


def choose(present_NK: NDArray[np.bool_], count: int, *, seed: int) -> list[int]:
    """Return `count` different rows, in order, that show every class if that can be found, else as many as can.

    The cover takes one image after the other: of the rarest class that is not shown yet, in drawn order, so that splits
    of different seeds differ. Only where the count is too small for that, images with many classes are preferred: of
    the rarest class, or of all (the greedy set cover, which shows at least 63 % of what any choice could).

    Args:
        present_NK: whether an image shows a class.
        count: 1 to N.
        seed: of the draw.
    """
    order_N = rng(seed, "split lists").permutation(len(present_NK))
    drawn_NK = present_NK[order_N]
    covers = [_cover(drawn_NK, count, worth) for worth in (_of_rarest, _widest_of_rarest, _widest)]
    cover = max(covers, key=lambda rows: int(_shown(drawn_NK[rows]).sum()))  # the first of equals
    rest = sorted(set(range(len(drawn_NK))) - set(cover))
    return sorted(int(order_N[row]) for row in cover + rest[: count - len(cover)])


_Worth = Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[np.int64]]
"""From which image shows which class, and which classes are wanted, to the worth of each image, (N,)."""


def _cover(present_NK: NDArray[np.bool_], count: int, worth: _Worth) -> list[int]:
    rows: list[int] = []
    wanted_K = _shown(present_NK)
    while wanted_K.any() and len(rows) < count:
        rows.append(int(worth(present_NK, wanted_K).argmax()))  # the first of equals
        wanted_K &= ~present_NK[rows[-1]]
    return rows


def _shown(present_NK: NDArray[np.bool_]) -> NDArray[np.bool_]:
    shown_K: NDArray[np.bool_] = np.logical_or.reduce(present_NK, axis=0)
    return shown_K


def _of_rarest(present_NK: NDArray[np.bool_], wanted_K: NDArray[np.bool_]) -> NDArray[np.int64]:
    images_K = np.where(wanted_K, present_NK.sum(axis=0), len(present_NK) + 1)
    return present_NK[:, images_K.argmin()].astype(np.int64)


def _widest(present_NK: NDArray[np.bool_], wanted_K: NDArray[np.bool_]) -> NDArray[np.int64]:
    worth_N: NDArray[np.int64] = (present_NK & wanted_K).sum(axis=1)
    return worth_N


def _widest_of_rarest(present_NK: NDArray[np.bool_], wanted_K: NDArray[np.bool_]) -> NDArray[np.int64]:
    return _of_rarest(present_NK, wanted_K) * _widest(present_NK, wanted_K)


def _new_folder(name: str, source: Source) -> Path:
    folder = inside(f"splits/{name}", source.root, "name of the split")
    if folder.exists() or name in source.published.names():
        raise DataError(
            f"a split {name!r} is {'there' if folder.exists() else 'published'} already",
            where=folder,
            remedy="choose another name",
        )
    return folder


def _apart(source: Source) -> tuple[Pool, bool]:
    """Return the images with those to evaluate on apart, and whether these had to be held out."""
    pool = load_pool(source)
    if pool.val.samples:
        return pool, False
    held, rest = (sorted(part) for part in hold_out(len(pool.masked), source.config))
    val = Val(tuple(pool.masked[index] for index in held))
    return Pool([pool.masked[index] for index in rest], pool.unmasked, val), bool(held)


def _names(source: Source, which_K: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, wanted in zip(source.spec.classes, which_K, strict=True) if wanted)
