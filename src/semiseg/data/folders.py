"""Find images, pairs and masks below folders; made for folders of 100,000 files, also on network disks.

Links are followed, of files and of folders and wherever they lead: who can put a link into a data folder can put a file
there. Each folder is searched once, by whatever ways it is reached, so that a circle of links ends.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NoReturn

from semiseg.data.bands import image_suffixes
from semiseg.data.lists import Sample, sample_id
from semiseg.data.reading import HAS_HEIC, HEIC_SUFFIXES, MASK_SUFFIXES, VIDEO_SUFFIXES
from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError

_LOST_MASKS = (".jpg", ".jpeg", ".gif", ".webp", ".jp2", ".heic", ".avif", ".npy")
"""Suffixes of what may be meant as a mask and is none: without a refusal its image would count as unlabeled."""

_HINTS = (
    (VIDEO_SUFFIXES, "`semiseg data frames` makes images of videos"),
    (() if HAS_HEIC else HEIC_SUFFIXES, "HEIC is read after pip install 'semiseg[heic]'"),
)
_SHOWN = 5


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        samples: by name.
        passed_over: files that are neither images nor masks, and folders that are reached twice.
    """

    samples: list[Sample]
    passed_over: list[Path]


def find_samples(
    root: Path, spec: DatasetSpec, *, part: str = "", masks: bool = True, remedy: str = "add images"
) -> Found:
    """Find a sample for every image of the first frame; hidden files and folders are no data.

    A second frame and a mask have the image's name and place below their own folder, but for the suffix.

    Args:
        root: the data folder.
        spec: what the data set is; a frame's folder may be empty, for `root` itself.
        part: folder below those of frames and masks to which the search is confined.
        masks: whether to look for masks.
        remedy: what to do where there is no image.

    Raises:
        DataError: there is no image, an image of a pair is without the other, two files of one name would be one image
            of a pair or one mask or share one mask, a mask is of a kind that cannot be used, or a folder cannot be
            read.
    """
    suffixes = image_suffixes(spec.shown.bands)
    first, *others = (_joined(folder, part) for folder in spec.frames)
    images = _scan(root, first, suffixes)
    if not images.names:
        besides = f", not {passed_over(images.others)}" if images.others else ""
        raise DataError(
            "no images found",
            where=root / first,
            expected="files " + ", ".join(suffixes) + besides,
            remedy=remedy,
        )
    partners = [_scan(root, other, suffixes) for other in others]
    stems = [_partners(images, other) for other in partners]
    drawn = _scan(root, _joined(spec.masks, part), MASK_SUFFIXES) if masks else _Files(root, "", [], [])
    found = drawn.by_stem()
    _refuse_shared_masks(images, found)
    _refuse_lost_masks(images, drawn, found)
    samples = []
    for name in images.names:
        stem = _stem(name)
        paths = [images.path(name), *(other.path(names[stem]) for other, names in zip(partners, stems, strict=True))]
        mask = drawn.path(found[stem]) if stem in found else None
        samples.append(Sample(sample_id(_joined(first, name), spec), tuple(paths), mask))
    return Found(samples, [path for files in (images, *partners, drawn) for path in files.others])


def files_below(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Return the names of files below `folder`, relative to it, in their order; linked ones too, hidden ones not.

    Raises:
        DataError: a folder below it cannot be read.
    """
    return _scan(folder, "", suffixes).names


def passed_over(paths: Sequence[Path]) -> str:
    """Count files by their suffixes, and name the first: `3 .heic, 1 .mp4 (a.heic, b.heic, ...)`."""
    kinds = Counter(path.suffix.lower() or "without a suffix" for path in paths)
    names = ", ".join(str(path) for path in paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")
    hints = [hint for suffixes, hint in _HINTS if not kinds.keys().isdisjoint(suffixes)]
    return "; ".join([", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()) + f" ({names})", *hints])


@dataclass(frozen=True)
class _Files:
    """The files below one folder of a data folder.

    Attributes:
        root: the data folder.
        folder: the folder below it.
        names: files of the wanted suffixes, relative to the folder, in their order.
        others: paths of what else there is.
    """

    root: Path
    folder: str
    names: list[str]
    others: list[Path]

    def path(self, name: str) -> Path:
        return self.root / _joined(self.folder, name)

    def by_stem(self) -> dict[str, str]:
        """Return the names by their stems, of which each may come once."""
        found: dict[str, str] = {}
        for name in self.names:
            other = found.setdefault(_stem(name), name)
            if other != name:
                _refuse_twins(self, other, name, "stand for one image")
        return found


def _partners(images: _Files, other: _Files) -> dict[str, str]:
    """Return the second images of pairs by stem."""
    firsts, partners = images.by_stem(), other.by_stem()
    lonely = [images.path(firsts[stem]) for stem in firsts if stem not in partners]
    lonely += [other.path(partners[stem]) for stem in partners if stem not in firsts]
    if lonely:
        raise DataError(
            f"{len(lonely)} images are without the other image of their pair",
            where=", ".join(map(str, lonely[:3])),
            expected=f"images of the same name in {images.folder}/ and {other.folder}/",
            remedy="add the missing images, or remove these",
        )
    return partners


def _refuse_shared_masks(images: _Files, masks: dict[str, str]) -> None:
    owners: dict[str, str] = {}
    for name in images.names:
        stem = _stem(name)
        if stem in masks and owners.setdefault(stem, name) != name:
            _refuse_twins(images, owners[stem], name, f"would share the mask {masks[stem]}")


def _refuse_twins(files: _Files, one: str, other: str, what: str) -> NoReturn:
    raise DataError(
        f"{PurePath(one).name} and {PurePath(other).name} {what}",
        where=f"{files.path(one)} and {files.path(other)}",
        expected="one file of a name, whatever its suffix",
        remedy="rename or remove one of them",
    )


def _refuse_lost_masks(images: _Files, masks: _Files, found: dict[str, str]) -> None:
    unlabeled = {_stem(name) for name in images.names} - found.keys()
    folder = masks.root / masks.folder
    lost = [
        path
        for path in masks.others
        if path.suffix.lower() in _LOST_MASKS and _stem(path.relative_to(folder).as_posix()) in unlabeled
    ]
    if lost:
        raise DataError(
            f"{len(lost)} masks are of a kind that cannot be used",
            where=passed_over(lost),
            expected="class ids in files " + ", ".join(MASK_SUFFIXES) + "; JPEG and the like change values",
            remedy="save them as single-channel PNG, from the original drawing if there is one",
        )


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def refuse_lonely_masks(root: Path, spec: DatasetSpec, known: Iterable[Sample]) -> None:
    """Raise for a mask without an image, which is a slip of the pen in a name.

    Args:
        root: the data folder.
        spec: what the data set is.
        known: samples whose masks may lie there though their images do not (COCO's of both parts share a folder).

    Raises:
        DataError: the first such mask.
    """
    images, masks = (
        _scan(root, spec.frames[0], image_suffixes(spec.shown.bands)),
        _scan(root, spec.masks, MASK_SUFFIXES),
    )
    stems = {_stem(name) for name in images.names}
    elsewhere = {sample.mask for sample in known}
    for name in masks.names:
        path = masks.path(name)
        if _stem(name) not in stems and path not in elsewhere:
            raise DataError(
                "mask without an image",
                where=path,
                expected=f"an image {path.stem}.* at the same place below {images.folder}/",
                remedy="add the image or remove the mask",
            )


def real_paths(paths: Iterable[Path]) -> list[str]:
    """Return each path with its links followed, asking the disk once a folder and once a link, not once a file."""
    folders: dict[str, tuple[str, set[str]]] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder), _links_in(folder)
        real, links = folders[folder]
        found.append(os.path.realpath(path) if name in links else f"{real}{os.sep}{name}")
    return found


def _links_in(folder: str) -> set[str]:
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except OSError:  # a list may name what does not exist; whoever reads the file says so
        return set()


def _scan(root: Path, folder: str, suffixes: Sequence[str]) -> _Files:
    """Find the files below a folder, which need not exist, in the order of their names, not the disk's."""
    files, searched = _Files(root, folder, [], []), set()
    top = root / folder

    def refuse(error: OSError) -> None:
        if Path(error.filename) != top or not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise DataError(
                f"a folder cannot be read ({error.strerror})", where=error.filename, remedy="restore its rights"
            ) from error

    for parent, folders, names in os.walk(top, followlinks=True, onerror=refuse):
        real = os.path.realpath(parent)
        below = os.path.relpath(parent, top).replace(os.sep, "/")
        if real in searched:
            files.others.append(files.path(below))
            folders.clear()
            continue
        searched.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(name for name in names if not name.startswith(".")):
            if name.lower().endswith(tuple(suffixes)):
                files.names.append(prefix + name)
            else:
                files.others.append(files.path(prefix + name))
    return files


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
