"""Find images, pairs and masks below folders; made for folders of 100,000 files, also on network disks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from semiseg.data.lists import Sample, sample_id
from semiseg.data.reading import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError


def find_samples(
    root: Path, spec: DatasetSpec, *, part: str = "", masks: bool = True, remedy: str = "add images"
) -> list[Sample]:
    """Return a sample for every image of the first frame, by name; hidden files and folders are no data.

    A second frame and a mask have the image's name and place below their own folder, but for the suffix.

    Args:
        root: the data folder.
        spec: what the data set is; a frame's folder may be empty, for `root` itself.
        part: folder below those of frames and masks to which the search is confined.
        masks: whether to look for masks.
        remedy: what to do where there is no image.

    Raises:
        DataError: there is no image, or an image of a pair is without the other.
    """
    first, *others = (_joined(folder, part) for folder in spec.frames)
    names = list(files_below(root / first, IMAGE_SUFFIXES))
    if not names:
        raise DataError(
            "no images found", where=root / first, expected="files " + ", ".join(IMAGE_SUFFIXES), remedy=remedy
        )
    partners = [_partners(root, first, other, names) for other in others]
    place = _joined(spec.masks, part)
    found = _by_stem(root / place, MASK_SUFFIXES) if masks else {}
    samples = []
    for name in names:
        stem = _stem(name)
        paths = [
            _joined(first, name),
            *(_joined(other, by_stem[stem]) for other, by_stem in zip(others, partners, strict=True)),
        ]
        mask = root / f"{place}/{found[stem]}" if stem in found else None
        samples.append(Sample(sample_id(paths[0], spec), tuple(root / path for path in paths), mask))
    return samples


def _partners(root: Path, first: str, other: str, names: Sequence[str]) -> dict[str, str]:
    """Return the images below `other` by stem; those below `first` are `names`."""
    partners, firsts = _by_stem(root / other, IMAGE_SUFFIXES), {_stem(name): name for name in names}
    lonely = [root / first / firsts[stem] for stem in firsts if stem not in partners]
    lonely += [root / other / partners[stem] for stem in partners if stem not in firsts]
    if lonely:
        raise DataError(
            f"{len(lonely)} images are without the other image of their pair",
            where=", ".join(map(str, lonely[:3])),
            expected=f"images of the same name in {first}/ and {other}/",
            remedy="add the missing images, or remove these",
        )
    return partners


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, str]:
    return {_stem(name): name for name in files_below(folder, suffixes)}


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
    images, masks = spec.frames[0], spec.masks
    stems = _by_stem(root / images, IMAGE_SUFFIXES)
    elsewhere = {sample.mask for sample in known}
    for name in files_below(root / masks, MASK_SUFFIXES):
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


def files_below(folder: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """Yield names relative to `folder`, in their order, not the disk's; linked ones too, hidden ones not."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(parent, folder).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(names):
            if name.lower().endswith(tuple(suffixes)) and not name.startswith("."):
                yield prefix + name


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
