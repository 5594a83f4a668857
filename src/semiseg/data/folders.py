"""Find images and their masks below folders; made for folders of 100,000 files, also on network disks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from semiseg.data.lists import Sample
from semiseg.data.reading import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiseg.errors import DataError


def images_below(root: Path, folder: str, *, remedy: str = "add images") -> list[Sample]:
    """Return every image below `root / folder` without a mask, by name; hidden files and folders are no data.

    Raises:
        DataError: there is none.
    """
    samples = [
        Sample(f"{folder}/{name}", (root / f"{folder}/{name}",), None)
        for name in _files_below(root / folder, IMAGE_SUFFIXES)
    ]
    if not samples:
        raise DataError(
            "no images found",
            where=root / folder,
            expected="files " + ", ".join(IMAGE_SUFFIXES),
            remedy=remedy,
        )
    return samples


def find_masks(samples: Sequence[Sample], root: Path, images: str, masks: str) -> list[Sample]:
    """Give each sample its mask, where there is one.

    Args:
        samples: images below `root / images`.
        root: the data folder.
        images: folder of images below the root.
        masks: folder of masks below the root; a mask has its image's name and place, but for the suffix.
    """
    found = {_stem(name): name for name in _files_below(root / masks, MASK_SUFFIXES)}
    start = len(images) + 1
    names = [found.get(_stem(sample.id[start:])) for sample in samples]
    return [
        replace(sample, mask=root / f"{masks}/{name}") if name else sample
        for sample, name in zip(samples, names, strict=True)
    ]


def refuse_lonely_masks(root: Path, images: str, masks: str, known: Iterable[Sample]) -> None:
    """Raise for a mask without an image, which is a slip of the pen in a name.

    Args:
        root: the data folder.
        images: folder of images below the root.
        masks: folder of masks below the root.
        known: samples whose masks may lie there though their images do not (COCO's of both parts share a folder).

    Raises:
        DataError: the first such mask.
    """
    stems = {_stem(name) for name in _files_below(root / images, IMAGE_SUFFIXES)}
    elsewhere = {sample.mask for sample in known}
    for name in _files_below(root / masks, MASK_SUFFIXES):
        path = root / f"{masks}/{name}"
        if _stem(name) not in stems and path not in elsewhere:
            raise DataError(
                "mask without an image",
                where=path,
                expected=f"an image {path.stem}.* at the same place below {images}/",
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


def _files_below(folder: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """Yield names relative to `folder`, in their order, not the disk's."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(parent, folder).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(names):
            if name.lower().endswith(tuple(suffixes)) and not name.startswith("."):
                yield prefix + name


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
