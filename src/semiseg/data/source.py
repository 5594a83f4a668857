"""Where a data set lies, what it is, and which lists its settings name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from semiseg.data.config import DataConfig
from semiseg.data.folders import real_paths
from semiseg.data.lists import Sample, inside, listed_name, read_list
from semiseg.data.published_splits import PublishedLists
from semiseg.data.spec import PAIRS, DatasetSpec, read_spec, shipped_specs
from semiseg.errors import DataError, closest


@dataclass(frozen=True)
class Source:
    """A data set before its samples are looked for.

    Attributes:
        config: the settings it comes from.
        root: the data folder.
        spec: what the data set is.
        published: its published lists.
    """

    config: DataConfig
    root: Path
    spec: DatasetSpec
    published: PublishedLists


@dataclass(frozen=True)
class SplitLists:
    """The lists of a split.

    Attributes:
        labeled: list of the labeled images.
        unlabeled: list of the unlabeled images, or None.
        rest: whether every training image that no list names is unlabeled, too.
    """

    labeled: Path
    unlabeled: Path | None
    rest: bool


def open_source(config: DataConfig) -> Source:
    """Find the data folder and read what it is.

    Raises:
        DataError: no such folder or data set, or no valid `dataset.yaml`.
    """
    root = _root(config)
    spec = replace(_spec(config, root), accept_predicted=config.accept_predicted, long_side=config.long_side)
    return Source(config, root, spec, _published(config, spec))


def find_lists(source: Source) -> SplitLists | None:
    """Return the lists that `data.split` names, or None where images are to be drawn or all are labeled.

    Raises:
        DataError: there is no such split, or a published list cannot be downloaded.
    """
    split = source.config.split
    if split is None and "labeled" in source.spec.lists:
        unlabeled = _spec_list("unlabeled", source) if "unlabeled" in source.spec.lists else None
        return SplitLists(_spec_list("labeled", source), unlabeled, rest=unlabeled is None)
    for folder in (source.root / "splits" / split, Path(split)) if split else ():
        if (folder / "labeled.txt").is_file():
            unlabeled = folder / "unlabeled.txt" if (folder / "unlabeled.txt").is_file() else None
            return SplitLists(folder / "labeled.txt", unlabeled, rest=unlabeled is None)
    published = source.published.split(split or "all")
    if published:
        # Of what is published as all, no image is left to be unlabeled.
        return SplitLists(*published, rest=published[1] is None and split not in (None, "all"))
    if split and split != "all" and not split.isdecimal():
        raise _no_split(split, source)
    return None


def find_val_list(source: Source) -> Path | None:
    """Return the list of the val images, or None if none is named.

    Raises:
        DataError: a published list cannot be downloaded.
    """
    if source.config.val is not None:
        return Path(source.config.val)
    if "val" in source.spec.lists:
        return _spec_list("val", source)
    own = source.root / "splits/val.txt"
    return own if own.is_file() else source.published.val()


def read_source_list(path: Path, source: Source, *, masks: bool = True) -> list[Sample]:
    """Read a list of a data set; see `read_list`.

    What it names lies in the data folder, also with links followed. Links may lead elsewhere only below the folders of
    images and masks, where a search follows them too, and in data sets that the package knows, whose folders
    `data prepare` links.

    Raises:
        DataError: as `read_list`, or a path leaves the data folder by a link.
    """
    samples = read_list(path, source.root, source.spec, masks=masks)
    if source.config.spec is None:
        _refuse_ways_out(path, source, samples)
    return samples


def _refuse_ways_out(path: Path, source: Source, samples: Iterable[Sample]) -> None:
    spec, root = source.spec, os.path.realpath(source.root)
    searched = tuple(f"{source.root / PurePath(folder).parts[0]}/" for folder in (*spec.frames, spec.masks) if folder)
    files = [file for sample in samples for file in (*sample.frames, sample.mask) if file]
    elsewhere = [file for file in files if not str(file).startswith(searched)]
    for file, real in zip(elsewhere, real_paths(elsewhere), strict=True):
        if not real.startswith(os.path.join(root, "")):
            raise DataError(
                f"{listed_name(file, source.root)!r} leaves the data folder by a link",
                where=path,
                expected=f"a file in {root}",
                remedy="list files of the data folder; if the link is yours, name its folder by `frames` or `masks` in "
                "dataset.yaml",
            )


def _no_split(split: str, source: Source) -> DataError:
    names = {path.parent.name for path in source.root.glob("splits/*/labeled.txt")} | set(source.published.names())
    return DataError(
        f"no split {split!r}{closest(split, sorted(names))}",
        where=source.root / "splits",
        expected=", ".join(sorted(names)) or "a folder with labeled.txt",
        remedy="name one of these, a folder with labeled.txt, all, or a number of images",
    )


def _spec_list(name: str, source: Source) -> Path:
    return inside(source.spec.lists[name], source.root, f"{source.root / 'dataset.yaml'}, lists.{name}")


def _root(config: DataConfig) -> Path:
    if config.root is None:
        raise DataError("no data folder", where="data.root", remedy="pass --data.root FOLDER")
    root = Path(config.root)
    if not root.is_dir():
        raise DataError("data folder not found", where=root, remedy="pass an existing folder as --data.root")
    return root


def _published(config: DataConfig, spec: DatasetSpec) -> PublishedLists:
    folder = Path(config.splits) if config.splits is not None else None
    if folder and not folder.is_dir():
        raise DataError("folder of lists not found", where=folder, remedy="correct --data.splits, or leave it out")
    # A dataset.yaml may call itself pascal and be something else.
    is_known = config.spec is not None or folder is not None
    return PublishedLists(dataset=spec.name if is_known else None, folder=folder)


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
        if all((root / folder).is_dir() for folder in PAIRS.frames) and not (root / "images").exists():
            return replace(PAIRS, name=root.resolve().name)
        raise DataError(
            "no dataset.yaml in the data folder",
            where=root,
            expected="a file with `classes: [NAME, NAME, ...]`, or pairs in A/ and B/ with masks in label/",
            remedy="write it, or pass --data.spec for a data set the package knows",
        )
    return read_spec(root / "dataset.yaml")
