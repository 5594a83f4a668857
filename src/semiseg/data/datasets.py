"""From a folder and its lists to the samples of a run: labeled, unlabeled and val."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semiseg.data.config import DataConfig
from semiseg.data.folders import find_samples, real_paths, refuse_lonely_masks
from semiseg.data.lists import Sample, listed_name, read_list, sample_id
from semiseg.data.source import Source, SplitLists, find_lists, find_val_list, open_source
from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError
from semiseg.seeding import rng


@dataclass(frozen=True)
class Val:
    """Samples to evaluate on, and what named them."""

    samples: tuple[Sample, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Dataset:
    """The samples of a run.

    Attributes:
        spec: classes, palette and protocol.
        labeled: samples with a mask, to learn from.
        unlabeled: samples to learn from without a mask (masks that exist are dropped here).
        val: samples with a mask, to evaluate on.
        notes: what was decided on the user's behalf, to be said aloud.
        root: the data folder.
        val_origin: what named the val samples.
    """

    spec: DatasetSpec
    labeled: tuple[Sample, ...]
    unlabeled: tuple[Sample, ...]
    val: tuple[Sample, ...]
    notes: tuple[str, ...] = ()
    root: Path = Path()
    val_origin: str = ""


@dataclass(frozen=True)
class Pool:
    """The images of a data set before any is chosen to be labeled.

    Attributes:
        masked: samples with a mask, of which labeled ones can be drawn.
        unmasked: samples without a mask.
        val: samples to evaluate on, in neither of the two; empty where none are named.
    """

    masked: list[Sample]
    unmasked: list[Sample]
    val: Val


def load_dataset(config: DataConfig) -> Dataset:
    """Find the samples that `config` names.

    Raises:
        DataError: no such folder or list, a list that is empty or leaves the root, a mask without an image, half of a
            pair, an image that is both trained and evaluated on, or a published list that cannot be downloaded.
    """
    source = open_source(config)
    lists = find_lists(source)
    notes: list[str] = []
    labeled, unlabeled, val = _listed(source, lists) if lists else _drawn(source, notes)
    for folder in (config.unlabeled,) if isinstance(config.unlabeled, str) else config.unlabeled:
        unlabeled += _further(Path(folder), source)
    dataset = Dataset(source.spec, tuple(labeled), tuple(unlabeled), val.samples, tuple(notes), source.root, val.origin)
    _refuse_leakage(dataset)
    return dataset


def named_val(source: Source) -> Val:
    """Return the val images that a list or the folder `val` names; they may be none.

    Raises:
        DataError: as `load_dataset`.
    """
    listed = find_val_list(source)
    if listed:
        return Val(tuple(read_list(listed, source.root, source.spec)), str(listed))
    images = source.root / source.spec.frames[0]
    if not all((images / part).is_dir() for part in ("train", "val")):
        return Val()
    found = find_samples(source.root, source.spec, part="val")
    return Val(tuple(sample for sample in found if sample.mask), str(images / "val"))


def load_pool(source: Source) -> Pool:
    """Find every image to train on, and those to evaluate on.

    Of a data set with a published split `all` these are the images that it labels; else those of the folders. Images of
    `splits/test.txt` are left out.

    Raises:
        DataError: as `load_dataset`.
    """
    val = named_val(source)
    published = source.published.split("all")
    samples = read_list(published[0], source.root, source.spec) if published else _found(source, val.samples)
    taken = {sample.frames for sample in (*val.samples, *_named(source, "splits/test.txt"))}
    samples = [sample for sample in samples if sample.frames not in taken]
    return Pool([sample for sample in samples if sample.mask], [sample for sample in samples if not sample.mask], val)


def hold_out(count: int, config: DataConfig) -> tuple[list[int], list[int]]:
    """Draw from `count` images: those held out for evaluation as `data.held_out` says, and the rest, as drawn."""
    order = [int(index) for index in rng(config.split_seed, "split").permutation(count)]
    held = min(max(1, round(count * config.held_out)), count - 1) if config.held_out and count else 0
    return order[:held], order[held:]


def _found(source: Source, val: Sequence[Sample]) -> list[Sample]:
    """Return every training image of the folders, with its mask if there is one."""
    refuse_lonely_masks(source.root, source.spec, known=val)
    return find_samples(source.root, source.spec, part=_training_part(source))


def _training_part(source: Source) -> str:
    return "train" if (source.root / source.spec.frames[0] / "train").is_dir() else ""


def _further(folder: Path, source: Source) -> list[Sample]:
    """Return every image of a folder anywhere, without a mask; every pair of one that holds a folder for each frame."""
    spec = source.spec
    anywhere = replace(spec, frames=("",)) if len(spec.frames) == 1 else spec
    samples = find_samples(folder, anywhere, masks=False, remedy="correct --data.unlabeled")
    return [replace(sample, id=sample_id(listed_name(sample.frames[0], source.root), spec)) for sample in samples]


def _named(source: Source, lists: str) -> list[Sample]:
    return [sample for path in source.root.glob(lists) for sample in read_list(path, source.root, source.spec)]


def _listed(source: Source, lists: SplitLists) -> tuple[list[Sample], list[Sample], Val]:
    """Read the lists of a split, and the val list beside them."""
    root, spec, val = source.root, source.spec, named_val(source)
    if not val.samples:
        raise DataError("no val list", where=root, remedy="pass --data.val LIST or name it in dataset.yaml")
    labeled = read_list(lists.labeled, root, spec)
    unlabeled = read_list(lists.unlabeled, root, spec, masks=False) if lists.unlabeled else []
    if lists.rest:
        # Not only labeled and val: what any other list of the data set names is somebody's test set.
        taken = {sample.frames for sample in (*labeled, *val.samples, *_named(source, "splits/*.txt"))}
        found = find_samples(root, spec, part=_training_part(source), masks=False)
        unlabeled = [sample for sample in found if sample.frames not in taken]
    return labeled, unlabeled, val


def _drawn(source: Source, notes: list[str]) -> tuple[list[Sample], list[Sample], Val]:
    """Label every image with a mask, or as many as `data.split` says; the masks of the others are not used."""
    config, pool = source.config, load_pool(source)
    val, masked = pool.val, pool.masked
    held, order = hold_out(len(masked), replace(config, held_out=0.0) if val.samples else config)
    if not val.samples and config.held_out and masked:
        note = f"{len(held)} of {len(masked)} images with a mask are held out for evaluation (data.held_out)"
        val = Val(tuple(masked[index] for index in sorted(held)), note)
        notes.append(note)
    count = int(config.split) if config.split and config.split != "all" else len(order)
    if not 0 < count <= len(order):
        raise DataError(
            f"{count or 'some'} labeled images wanted, {len(order)} with a mask found that are not evaluated on",
            where=source.root / source.spec.masks,
            expected=f"{source.spec.masks}/NAME.png for {source.spec.frames[0]}/NAME.jpg",
            remedy="add masks, or lower --data.split",
        )
    if source.published.names() and config.split and config.split != "all":
        notes.append(f"no published split {config.split}: so many labeled images are drawn (data.split_seed)")
    labeled = [masked[index] for index in sorted(order[:count])]
    unlabeled = [replace(masked[index], mask=None) for index in sorted(order[count:])]
    return labeled, pool.unmasked + unlabeled, val


def _refuse_leakage(dataset: Dataset) -> None:
    # By real paths: an extra folder may reach the same files by another way.
    val = set(real_paths(path for sample in dataset.val for path in sample.frames))
    for name in ("labeled", "unlabeled"):
        samples: tuple[Sample, ...] = getattr(dataset, name)
        real = real_paths(path for sample in samples for path in sample.frames)
        ids = (sample.id for sample in samples for _ in sample.frames)
        leaked = list(dict.fromkeys(id_ for id_, path in zip(ids, real, strict=True) if path in val))
        if leaked:
            raise DataError(
                f"{len(leaked)} images are both {name} and evaluated on",
                where=", ".join(leaked[:3]),
                expected="training and val images apart",
                remedy=f"take them out of the {name} list or of the val list",
            )
