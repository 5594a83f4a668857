"""From folders and lists on disk to the samples of a run: labeled, unlabeled and val."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from semiseg.data.reading import IMAGE_SUFFIXES, MASK_SUFFIXES, MAX_PIXELS
from semiseg.data.spec import DatasetSpec, read_spec, shipped_specs
from semiseg.errors import ConfigError, DataError, closest
from semiseg.seeding import rng


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images a run learns from, and how they are cut."""

    root: str | None = None
    """Folder with `images/`, `masks/` and `dataset.yaml`; paths in lists are relative to it. Required."""
    spec: str | None = None
    """Name of a data set the package knows (`camvid`), for a root without `dataset.yaml`. Default: `dataset.yaml`."""
    split: str | None = None
    """Which images are labeled: the name of a folder under `splits/`, the path of a folder that holds `labeled.txt`
    (and perhaps `unlabeled.txt`), or a number of images. Default: every image with a mask."""
    val: str | None = None
    """List file of the images to evaluate on. Default: `lists.val` of `dataset.yaml`, `splits/val.txt`,
    `images/val/`, else a held-out part of the images with a mask."""
    held_out: float = 0.2
    """Part of the images with a mask that is held out for evaluation where no val images are named, 0 to 0.9."""
    split_seed: int = 0
    """Seed of the draws of `split` by number and of the held-out part."""
    unlabeled: tuple[str, ...] | str = ()
    """More unlabeled images: a folder anywhere on disk, or a list `[FOLDER, FOLDER]`."""
    crop: int = 518
    """Side of the training crop in pixels, a multiple of the encoder's patch (518 = 37 x 14, arXiv 2410.10777)."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest random scale of the long side, above 0 (published: 0.5 to 2)."""
    labeled_epoch: int = 0
    """Labeled-only training: samples of an epoch, the list repeated to at least as many (published: 3000 to 30000)."""
    workers: int = -1
    """Loader processes for each training process; 0 loads in the training process; -1: from the number of cores."""
    max_pixels: int = MAX_PIXELS
    """Largest image that is opened, in pixels."""

    def __post_init__(self) -> None:
        low, high = self.scale
        self._require("scale", 0 < low <= high, "0 < smallest <= largest")
        self._require("held_out", 0 <= self.held_out <= 0.9, "a part from 0 to 0.9")
        self._require("split_seed", self.split_seed >= 0, "a number >= 0")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ConfigError(
                f"{name} is {getattr(self, name)}",
                where=f"data.{name}",
                expected=expected,
                remedy=f"correct --data.{name}, or leave it out",
            )


@dataclass(frozen=True)
class Sample:
    """One place: T frames and perhaps a mask.

    Attributes:
        id: the image's name, as in the lists.
        frames: paths of the T frames.
        mask: path of the mask, or None where the sample is unlabeled.
    """

    id: str
    frames: tuple[Path, ...]
    mask: Path | None


@dataclass(frozen=True)
class Dataset:
    """The samples of a run.

    Attributes:
        spec: classes, palette and protocol.
        labeled: samples with a mask, to learn from.
        unlabeled: samples to learn from without a mask (masks that exist are dropped here).
        val: samples with a mask, to evaluate on.
        notes: what was decided on the user's behalf, to be said aloud.
    """

    spec: DatasetSpec
    labeled: tuple[Sample, ...]
    unlabeled: tuple[Sample, ...]
    val: tuple[Sample, ...]
    notes: tuple[str, ...] = ()


def load_dataset(config: DataConfig) -> Dataset:
    """Find the samples that `config` names.

    Raises:
        DataError: no such folder or list, a list that is empty or leaves the root, a mask without an image, or an
            image that is both trained and evaluated on.
    """
    root = _root(config)
    spec = _spec(config, root)
    notes: list[str] = []
    labeled, unlabeled, val = _listed(config, spec, root) or _found(config, spec, root, notes)
    unlabeled = [replace(sample, mask=None) for sample in unlabeled]
    for folder in (config.unlabeled,) if isinstance(config.unlabeled, str) else config.unlabeled:
        unlabeled += _folder_of_images(Path(folder))
    dataset = Dataset(spec, tuple(labeled), tuple(unlabeled), tuple(val), tuple(notes))
    _refuse_leakage(dataset)
    return dataset


def load_val(config: DataConfig) -> tuple[DatasetSpec, tuple[Sample, ...]]:
    """Find the samples to evaluate on, and nothing else; raises as `load_dataset`."""
    root = _root(config)
    spec = _spec(config, root)
    listed = _val_list(config, spec, root)
    return spec, tuple(read_list(listed, root) if listed else load_dataset(config).val)


def read_list(path: Path, root: Path) -> list[Sample]:
    """Read lines of `IMAGE MASK`, `IMAGE None` or `IMAGE`, relative to `root`.

    Raises:
        DataError: the list is missing or empty, a line has more than two fields, or a path leaves the root.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"unreadable list ({error})", where=path, remedy="name an existing list file") from error
    samples = [_parse(line, root, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not samples:
        raise DataError("empty list", where=path, expected="one `IMAGE MASK` a line", remedy="fill the list")
    return samples


def _parse(line: str, root: Path, where: str) -> Sample:
    # Tabs, where there are any, so that file names with spaces can be listed too.
    parts = [part.strip() for part in line.strip().split("\t")] if "\t" in line.strip() else line.split()
    if len(parts) > 2:
        raise DataError(
            f"{len(parts)} fields in a line",
            where=where,
            expected="`IMAGE MASK` or `IMAGE`",
            remedy="separate the two by a tab if a file name holds spaces",
        )
    image = _inside(parts[0], root, where)
    mask = _inside(parts[1], root, where) if len(parts) == 2 and parts[1] != "None" else None
    return Sample(parts[0], (image,), mask)


def _inside(name: str, root: Path, where: str) -> Path:
    """Join a listed path to the root, which it must not leave."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise DataError(
            f"path {name!r} leaves the data folder",
            where=where,
            expected=f"a path relative to {root}",
            remedy="list paths below the root, or link the folder into it",
        )
    return root / name


def _root(config: DataConfig) -> Path:
    if config.root is None:
        raise DataError("no data folder", where="data.root", remedy="pass --data.root FOLDER")
    root = Path(config.root)
    if not root.is_dir():
        raise DataError("data folder not found", where=root, remedy="pass an existing folder as --data.root")
    return root


def _spec(config: DataConfig, root: Path) -> DatasetSpec:
    if config.spec is not None:
        specs = shipped_specs()
        if config.spec not in specs:
            raise DataError(
                f"unknown data set {config.spec!r}{closest(config.spec, specs)}",
                where="data.spec",
                expected=", ".join(specs),
                remedy="name one of these, or write a dataset.yaml and leave data.spec out",
            )
        return read_spec(specs[config.spec])
    if not (root / "dataset.yaml").is_file():
        raise DataError(
            "no dataset.yaml in the data folder",
            where=root,
            expected="a file with `classes: [NAME, NAME, ...]`",
            remedy="write it, or pass --data.spec for a data set the package knows",
        )
    return read_spec(root / "dataset.yaml")


def _val_list(config: DataConfig, spec: DatasetSpec, root: Path) -> Path | None:
    if config.val is not None:
        return Path(config.val)
    if "val" in spec.lists:
        return _spec_list("val", spec, root)
    return root / "splits/val.txt" if (root / "splits/val.txt").is_file() else None


def _spec_list(name: str, spec: DatasetSpec, root: Path) -> Path:
    return _inside(spec.lists[name], root, f"{root / 'dataset.yaml'}, lists.{name}")


def _split_folder(split: str, root: Path) -> Path:
    named = root / "splits" / split
    folder = named if named.is_dir() else Path(split)
    if not (folder / "labeled.txt").is_file():
        splits = sorted(path.parent.name for path in root.glob("splits/*/labeled.txt"))
        raise DataError(
            f"no split {split!r}{closest(split, splits)}",
            where=root / "splits",
            expected=", ".join(splits) or "a folder with labeled.txt",
            remedy="name one of these, a folder with labeled.txt, or a number of images",
        )
    return folder


def _listed(
    config: DataConfig, spec: DatasetSpec, root: Path
) -> tuple[list[Sample], list[Sample], list[Sample]] | None:
    """Return the samples that lists name, or None where the folders themselves are to be read."""
    if config.split is not None and not _is_number(config.split, root):
        folder = _split_folder(config.split, root)
        labeled_list = folder / "labeled.txt"
        unlabeled_list = folder / "unlabeled.txt" if (folder / "unlabeled.txt").is_file() else None
    elif config.split is None and "labeled" in spec.lists:
        labeled_list = _spec_list("labeled", spec, root)
        unlabeled_list = _spec_list("unlabeled", spec, root) if "unlabeled" in spec.lists else None
    else:
        return None
    val_list = _val_list(config, spec, root)
    if val_list is None:
        raise DataError("no val list", where=root, remedy="pass --data.val LIST or name it in dataset.yaml")
    labeled, val = read_list(labeled_list, root), read_list(val_list, root)
    if unlabeled_list is not None:
        unlabeled = read_list(unlabeled_list, root)
    else:
        # Not only labeled and val: what any other list of the data set names is somebody's test set.
        taken = {sample.frames for sample in (*labeled, *val)}
        taken |= {sample.frames for path in root.glob("splits/*.txt") for sample in read_list(path, root)}
        unlabeled = [sample for sample in _images_below(root / "images", root) if sample.frames not in taken]
    return labeled, unlabeled, val


def _is_number(split: str, root: Path) -> bool:
    """Whether a split is a number of images: a folder of that name goes first, as published splits are numbered."""
    return split.isdecimal() and not (root / "splits" / split).is_dir()


def _found(
    config: DataConfig, spec: DatasetSpec, root: Path, notes: list[str]
) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Read `images/` and `masks/`: an image with a mask of the same name is labeled, every other one unlabeled."""
    trains = root / "images/train" if (root / "images/train").is_dir() else root / "images"
    samples = _images_below(trains, root)
    _refuse_lonely_masks(root)
    val_list = _val_list(config, spec, root)
    val = read_list(val_list, root) if val_list else []
    if not val and trains.name == "train" and (root / "images/val").is_dir():
        val = [sample for sample in _images_below(root / "images/val", root) if sample.mask]
    taken = {sample.frames for sample in val}
    with_mask = [sample for sample in samples if sample.mask and sample.frames not in taken]
    unlabeled = [sample for sample in samples if not sample.mask and sample.frames not in taken]
    order = rng(config.split_seed, "split").permutation(len(with_mask))
    if not val and config.held_out and with_mask:
        count = min(max(1, round(len(order) * config.held_out)), len(order) - 1)
        val = [with_mask[index] for index in sorted(order[:count])]
        order = order[count:]
        notes.append(f"{count} of {len(with_mask)} images with a mask are held out for evaluation (data.held_out)")
    count = int(config.split) if config.split else len(order)
    if not 0 < count <= len(order):
        raise DataError(
            f"{count or 'some'} labeled images wanted, {len(order)} with a mask found that are not evaluated on",
            where=root / "masks",
            expected="masks/NAME.png for images/NAME.jpg",
            remedy="add masks, or lower --data.split",
        )
    labeled = [with_mask[index] for index in sorted(order[:count])]
    unlabeled += [with_mask[index] for index in sorted(order[count:])]
    return labeled, unlabeled, val


def _files_below(folder: Path, suffixes: Sequence[str]) -> Iterable[Path]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(tuple(suffixes)) and not name.startswith("."):
                yield Path(parent) / name


def _images_below(folder: Path, root: Path) -> list[Sample]:
    images = root / "images"
    masks = {path.relative_to(root / "masks").with_suffix(""): path for path in _masks_below(root)}
    samples = [
        Sample(path.relative_to(root).as_posix(), (path,), masks.get(path.relative_to(images).with_suffix("")))
        for path in _files_below(folder, IMAGE_SUFFIXES)
    ]
    if not samples:
        raise DataError(
            "no images found", where=folder, expected="files " + ", ".join(IMAGE_SUFFIXES), remedy="add images"
        )
    return samples


def _masks_below(root: Path) -> Iterable[Path]:
    return _files_below(root / "masks", MASK_SUFFIXES)


def _folder_of_images(folder: Path) -> list[Sample]:
    samples = [Sample(path.as_posix(), (path,), None) for path in _files_below(folder, IMAGE_SUFFIXES)]
    if not samples:
        raise DataError("no images found", where=folder, remedy="correct --data.unlabeled")
    return samples


def _refuse_lonely_masks(root: Path) -> None:
    images = root / "images"
    known = {path.relative_to(images).with_suffix("") for path in _files_below(images, IMAGE_SUFFIXES)}
    for path in _masks_below(root):
        if path.relative_to(root / "masks").with_suffix("") not in known:
            raise DataError(
                "mask without an image",
                where=path,
                expected=f"an image {path.stem}.* at the same place below images/",
                remedy="add the image or remove the mask",
            )


def _refuse_leakage(dataset: Dataset) -> None:
    # By real paths: an extra folder may reach the same files by another way.
    val = {os.path.realpath(path) for sample in dataset.val for path in sample.frames}
    for name in ("labeled", "unlabeled"):
        samples: tuple[Sample, ...] = getattr(dataset, name)
        leaked = [sample.id for sample in samples if any(os.path.realpath(path) in val for path in sample.frames)]
        if leaked:
            raise DataError(
                f"{len(leaked)} images are both {name} and evaluated on",
                where=", ".join(leaked[:3]),
                expected="training and val images apart",
                remedy=f"take them out of the {name} list or of the val list",
            )
