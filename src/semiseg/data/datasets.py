"""From a folder and its lists to the samples of a run: labeled, unlabeled and val."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from semiseg.data.config import DataConfig
from semiseg.data.folders import find_samples, passed_over, real_paths, refuse_lonely_masks
from semiseg.data.index import ImageIndex, IndexedSamples, in_memory, index_of
from semiseg.data.indexing import current_index, further_sources
from semiseg.data.lists import Sample, listed_name, read_list, sample_id
from semiseg.data.members import ARCHIVE_SUFFIX
from semiseg.data.quarantine import bearable
from semiseg.data.source import Source, SplitLists, find_lists, find_val_list, open_source, read_source_list
from semiseg.data.spec import DatasetSpec
from semiseg.data.ticks import Tick, no_tick
from semiseg.errors import DataError, some
from semiseg.seeding import rng

_MANY = 100_000
"""Unlabeled images from which on an index is suggested: a look at them takes about 15 seconds."""


@dataclass(frozen=True)
class Val:
    """Samples to evaluate on, what named them, and what is to be said of them."""

    samples: tuple[Sample, ...] = ()
    origin: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """The samples of a run.

    Attributes:
        spec: classes, palette and protocol.
        labeled: samples with a mask, to learn from.
        unlabeled: samples to learn from without a mask (masks that exist are dropped here); those of an index
            are made when they are asked for.
        val: samples with a mask, to evaluate on.
        notes: what was decided on the user's behalf, to be said aloud.
        root: the data folder.
        val_origin: what named the val samples.
        checksums: SHA-256 of files by their names in lists, which they are held against when they are read.
        faults: what was seen while the images were listed and has to be mended before training, each a whole message.
    """

    spec: DatasetSpec
    labeled: tuple[Sample, ...]
    unlabeled: Sequence[Sample]
    val: tuple[Sample, ...]
    notes: tuple[str, ...] = ()
    root: Path = Path()
    val_origin: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pool:
    """The images of a data set before any is chosen to be labeled.

    Attributes:
        masked: samples with a mask, of which labeled ones can be drawn.
        unmasked: samples without a mask.
        val: samples to evaluate on, in neither of the two; empty where none are named.
        notes: what is to be said of the search.
    """

    masked: list[Sample]
    unmasked: list[Sample]
    val: Val
    notes: tuple[str, ...] = ()


def load_dataset(config: DataConfig, tick: Tick = no_tick) -> Dataset:
    """Find the samples that `config` names.

    Args:
        config: the settings.
        tick: called while an index is made, with the number of new images looked at and of all.

    Raises:
        DataError: no such folder or list, a list that is empty or leaves the root, a mask without an image, half of a
            pair, an image that is labeled or evaluated on twice, or both trained and evaluated on, a published list
            that cannot be downloaded, or an index that cannot be made or read.
    """
    source = open_source(config)
    lists = find_lists(source)
    notes = list(source.spec.shown.notes())
    labeled, unlabeled, val = _listed(source, lists, notes) if lists else _drawn(source, notes)
    if config.accepted is not None:
        labeled, unlabeled = _with_accepted(Path(config.accepted), source, labeled, unlabeled, notes)
    index = current_index(config, source.spec, tick) if config.index is not None else None
    for folder in further_sources(config) if index is None else ():
        unlabeled += further_images(folder, source, notes)
    unlabeled = each_once(unlabeled, notes, index)
    dataset = Dataset(source.spec, tuple(labeled), tuple(unlabeled), val.samples, tuple(notes), source.root, val.origin)
    if index is not None:
        dataset = _with_index(dataset, index, config)
    elif len(unlabeled) > _MANY:
        notes.append(
            f"{len(unlabeled):,} unlabeled images are looked at; with --data.index FILE.arrow only new ones are"
        )
        dataset = replace(dataset, notes=tuple(notes))
    for part in ("labeled", "val"):
        _refuse_twice(dataset, part)
    _refuse_leakage(dataset)
    return dataset


def named_val(source: Source) -> Val:
    """Return the val images that a list or the folder `val` names; they may be none.

    Raises:
        DataError: as `load_dataset`.
    """
    listed = find_val_list(source)
    if listed:
        return Val(tuple(read_source_list(listed, source)), str(listed))
    images = source.root / source.spec.frames[0]
    if not all((images / part).is_dir() for part in ("train", "val")):
        return Val()
    found = find_samples(source.root, source.spec, part="val")
    samples = tuple(sample for sample in found.samples if sample.mask)
    bare = len(found.samples) - len(samples)
    notes = [f"{bare:,} images of {images / 'val'} have no mask and are not used"] if bare else []
    return Val(samples, str(images / "val"), (*notes, *_passed(found.passed_over)))


def load_pool(source: Source) -> Pool:
    """Find every image to train on, and those to evaluate on.

    Of a data set with a published split `all` these are the images that it labels; else those of the folders. Images of
    `splits/test.txt` are left out.

    Raises:
        DataError: as `load_dataset`.
    """
    val = named_val(source)
    published = source.published.split("all")
    if published:
        samples, notes = read_source_list(published[0], source), val.notes
    else:
        refuse_lonely_masks(source.root, source.spec, known=val.samples)
        part, aside = _training_part(source)
        found = find_samples(source.root, source.spec, part=part)
        samples, notes = found.samples, (*val.notes, *aside, *_passed(found.passed_over))
    taken = {sample.frames for sample in (*val.samples, *_named(source, "splits/test.txt"))}
    samples = [sample for sample in samples if sample.frames not in taken]
    masked, unmasked = [sample for sample in samples if sample.mask], [sample for sample in samples if not sample.mask]
    return Pool(masked, unmasked, val, notes)


def hold_out(count: int, config: DataConfig) -> tuple[list[int], list[int]]:
    """Draw from `count` images: those held out for evaluation as `data.held_out` says, and the rest, as drawn."""
    order = [int(index) for index in rng(config.split_seed, "split").permutation(count)]
    held = min(max(1, round(count * config.held_out)), count - 1) if config.held_out and count else 0
    return order[:held], order[held:]


def _passed(paths: Sequence[Path]) -> tuple[str, ...]:
    return (f"passed over: {passed_over(paths)}",) if paths else ()


def _training_part(source: Source) -> tuple[str, tuple[str, ...]]:
    """Return the folder below that of the images which is for training, and what is to be said of those beside it.

    Raises:
        DataError: it is not clear whether a folder `train` is for training, or one of several folders of images.
    """
    images = source.root / source.spec.frames[0]
    if not (images / "train").is_dir():
        return "", ()
    parts = ("train", "val", "test")
    others = [path for path in sorted(images.iterdir()) if path.name not in parts and not path.name.startswith(".")]
    if others and not (images / "val").is_dir():
        raise DataError(
            f"images beside the folder train: {passed_over(others)}",
            where=images,
            expected="train/ for training and val/ for evaluation, or folders of other names",
            remedy=f"rename train/ if it is one of several folders of images, else write `frames: "
            f"[{source.spec.frames[0]}/train]` and `masks: {source.spec.masks}/train` in dataset.yaml",
        )
    tests = [images / "test"] if (images / "test").is_dir() else []
    aside = [str(path) for path in (*others, *tests)]
    return "train", ((f"not for training and passed over: {some(aside)}",) if aside else ())


def further_images(folder: Path, source: Source, notes: list[str]) -> list[Sample]:
    """Return every image of a folder anywhere, without a mask; every pair of one that holds a folder for each frame.

    Raises:
        DataError: as `find_samples`.
    """
    spec = source.spec
    if folder.suffix.lower() == ARCHIVE_SUFFIX and folder.is_file():
        raise DataError(
            "an archive without an index of what is in it",
            where=folder,
            remedy="name one to be made: --data.index FILE.arrow",
        )
    anywhere = replace(spec, frames=("",)) if len(spec.frames) == 1 else spec
    found = find_samples(folder, anywhere, masks=False, remedy="correct --data.unlabeled")
    notes += _passed(found.passed_over)
    names = (listed_name(sample.frames[0], source.root) for sample in found.samples)
    return [replace(sample, id=sample_id(name, spec)) for sample, name in zip(found.samples, names, strict=True)]


def _with_accepted(
    path: Path, source: Source, labeled: list[Sample], unlabeled: list[Sample], notes: list[str]
) -> tuple[list[Sample], list[Sample]]:
    """Add what a list of accepted labels names to the labeled images, and take its images out of the unlabeled ones."""
    found = [sample for sample in read_list(path, path.parent, source.spec, anywhere=True) if sample.mask]
    names = (listed_name(sample.frames[0], source.root) for sample in found)
    accepted = [replace(sample, id=sample_id(name, source.spec)) for sample, name in zip(found, names, strict=True)]
    taken = set(_real(accepted))
    left = [sample for sample, real in zip(unlabeled, _real(unlabeled), strict=True) if real not in taken]
    notes.append(f"{len(accepted):,} further labeled images are of {path} (data.accepted)")
    return labeled + accepted, left


def _with_index(dataset: Dataset, index: ImageIndex, config: DataConfig) -> Dataset:
    """Add the images of an index to the unlabeled ones, and say what is to be said of it."""
    passed_over, left_out = index.contents.passed_over, index.contents.left_out
    notes = [f"{len(index):,} unlabeled images are those of {index.path}"]
    if passed_over:
        notes.append(
            f"passed over: {passed_over:,} files that are no images, or links to images that are there without them"
        )
    faults = []
    if left_out:
        names, limit = some([name for name, _ in left_out]), bearable(len(index), config.quarantine)
        what = f"{len(left_out):,} of {len(index) + len(left_out):,} unlabeled images cannot be read"
        first = f"{names}; the first: {left_out[0][1].splitlines()[0]}"
        notes.append(f"{what} and are left out: {first}")
        if len(left_out) > limit:
            expected = f"at most {limit:,} (data.quarantine)"
            remedy = "replace or remove these files, or raise --data.quarantine"
            faults.append(str(DataError(f"{what}: {first}", where=index.path, expected=expected, remedy=remedy)))
    unlabeled = IndexedSamples(dataset.unlabeled, index, dataset.root)
    return replace(dataset, unlabeled=unlabeled, notes=(*dataset.notes, *notes), faults=tuple(faults))


def _named(source: Source, lists: str) -> list[Sample]:
    return [sample for path in source.root.glob(lists) for sample in read_source_list(path, source)]


def _listed(source: Source, lists: SplitLists, notes: list[str]) -> tuple[list[Sample], list[Sample], Val]:
    """Read the lists of a split, and the val list beside them."""
    root, spec, val = source.root, source.spec, named_val(source)
    if not val.samples:
        raise DataError("no val list", where=root, remedy="pass --data.val LIST or name it in dataset.yaml")
    notes += val.notes
    labeled = read_source_list(lists.labeled, source)
    unlabeled = read_source_list(lists.unlabeled, source, masks=False) if lists.unlabeled else []
    if lists.rest:
        # Not only labeled and val: what any other list of the data set names is somebody's test set.
        taken = {sample.frames for sample in (*labeled, *val.samples, *_named(source, "splits/*.txt"))}
        part, aside = _training_part(source)
        found = find_samples(root, spec, part=part, masks=False)
        unlabeled = [sample for sample in found.samples if sample.frames not in taken]
        notes += (*aside, *_passed(found.passed_over))
    return labeled, unlabeled, val


def _drawn(source: Source, notes: list[str]) -> tuple[list[Sample], list[Sample], Val]:
    """Label every image with a mask, or as many as `data.split` says; the masks of the others are not used."""
    config, pool = source.config, load_pool(source)
    val, masked = pool.val, pool.masked
    notes += pool.notes
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


def each_once(samples: list[Sample], notes: list[str], index: ImageIndex | None = None) -> list[Sample]:
    """Return every sample once, also if lists or folders name its files twice or by several ways.

    What an index holds too is the index's.
    """
    found = dict(zip(_real(samples), samples, strict=True))
    indexed = index.find(path for paths in found for path in paths) if index else {}
    found = {paths: sample for paths, sample in found.items() if indexed.keys().isdisjoint(paths)}
    if len(found) < len(samples):
        notes.append(f"{len(samples) - len(found):,} unlabeled images are there twice and are used once")
    return list(found.values())


def _refuse_twice(dataset: Dataset, part: str) -> None:
    samples: tuple[Sample, ...] = getattr(dataset, part)
    counts = Counter(_real(samples))
    twice = [sample.id for sample, real in zip(samples, _real(samples), strict=True) if counts[real] > 1]
    if twice:
        raise DataError(
            f"{len(set(twice)):,} {part} images are named more than once",
            where=some(list(dict.fromkeys(twice))),
            expected="one line, and one mask, of each image",
            remedy="take the other lines out of the list",
        )


def _real(samples: Sequence[Sample]) -> list[tuple[str, ...]]:
    """Return the real paths of each sample's frames."""
    paths = iter(real_paths(path for sample in samples for path in sample.frames))
    return [tuple(next(paths) for _ in sample.frames) for sample in samples]


def _refuse_leakage(dataset: Dataset) -> None:
    # By real paths: an extra folder may reach the same files by another way.
    val = {path for frames in _real(dataset.val) for path in frames}
    index = index_of(dataset.unlabeled)
    for name in ("labeled", "unlabeled"):
        samples = in_memory(getattr(dataset, name))
        leaked = [sample.id for sample, real in zip(samples, _real(samples), strict=True) if not val.isdisjoint(real)]
        leaked += sorted(index.find(val)) if index and name == "unlabeled" else []
        if leaked:
            raise DataError(
                f"{len(leaked)} images are both {name} and evaluated on",
                where=", ".join(leaked[:3]),
                expected="training and val images apart",
                remedy=f"take them out of the {name} list or of the val list",
            )
