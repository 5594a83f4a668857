"""Samples, and the lists that name them: `IMAGE MASK` a line, or the name of a pair, relative to the data folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError
from semiseg.files import write_text


@dataclass(frozen=True)
class Sample:
    """One place: T frames and perhaps a mask.

    Attributes:
        id: the image's name, as in the lists; of a pair the first image's, below the folder of first images.
        frames: paths of the T frames.
        mask: path of the mask, or None where the sample is unlabeled.
        sizes: bytes that the file of each frame has; empty where nobody has noted them.
    """

    id: str
    frames: tuple[Path, ...]
    mask: Path | None
    sizes: tuple[int, ...] = ()


def read_list(path: Path, root: Path, spec: DatasetSpec, *, masks: bool = True, anywhere: bool = False) -> list[Sample]:
    """Read lines of `IMAGE MASK`, `IMAGE None` or `IMAGE`, relative to `root`.

    Of pairs a line is a `NAME`, the same in the folders of both frames and of the masks as `spec` gives them, else
    `IMAGE IMAGE MASK`, `IMAGE IMAGE None` or `IMAGE IMAGE`.

    Args:
        path: the list.
        root: the data folder.
        spec: what the data set is.
        masks: whether to keep the masks.
        anywhere: whether paths may leave the root, and the list may be empty; only for what `write_list` wrote.

    Raises:
        DataError: the list is missing or empty, a line has too many fields, or a path leaves the root.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"unreadable list ({error})", where=path, remedy="name an existing list file") from error
    samples = [
        _parse(line, root, spec, f"{path}, line {number}", anywhere)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not samples and not anywhere:
        raise DataError("empty list", where=path, expected=f"{_form(spec)} a line", remedy="fill the list")
    return samples if masks else [replace(sample, mask=None) for sample in samples]


def write_list(path: Path, samples: Iterable[Sample], root: Path) -> None:
    """Write a list that `read_list` reads as the same samples; files outside of `root` are named from the disk's root.

    Raises:
        DataError: a file's name cannot stand in a line.
    """
    write_text(path, "".join(f"{list_line(sample, root)}\n" for sample in samples))


def list_line(sample: Sample, root: Path) -> str:
    """Return how a list names a sample.

    Raises:
        DataError: a file's name cannot stand in a line.
    """
    fields = [listed_name(file, root) if file else "None" for file in (*sample.frames, sample.mask)]
    line = ("\t" if any(len(field.split()) > 1 for field in fields) else " ").join(fields)
    # Not UTF-8 on the disk: Python holds such bytes as lone surrogates. What begins a file may be a byte order mark.
    unreadable = line.startswith("\ufeff") or any("\ud800" <= char <= "\udfff" for char in line)
    if unreadable or len(line.splitlines()) != 1 or line_fields(line) != fields:
        raise DataError(
            "a name that no list can hold",
            where=repr(sample.id),
            expected="UTF-8, no tabs, no line breaks, no spaces at the ends, no byte order mark before it",
            remedy="rename the file",
        )
    return line


def listed_name(path: Path, root: Path) -> str:
    """Return how a list names a file: relative to `root` if it lies below it as written, else from the disk's root."""
    name, folder = path.as_posix(), root.as_posix()
    if name.startswith(f"{folder}/"):
        return name.removeprefix(f"{folder}/")
    whole, base = Path(os.path.abspath(path)), os.path.abspath(root)
    return (whole.relative_to(base) if whole.is_relative_to(base) else whole).as_posix()


def inside(name: str, root: Path, where: str) -> Path:
    """Join a listed path to the root.

    Raises:
        DataError: it would leave the root, or no file can be called so.
    """
    if "\0" in name:
        raise DataError("a zero byte in a path", where=where, expected="text", remedy="restore the list")
    if name.startswith("/") or (".." in name and ".." in name.split("/")):
        raise DataError(
            f"path {name!r} leaves the data folder",
            where=where,
            expected=f"a path relative to {root}",
            remedy="list paths below the root, or link the folder into it",
        )
    return root / name


def line_fields(line: str) -> list[str]:
    """Return the names in a line, parted by tabs where there are any, so that file names with spaces can be listed."""
    text = line.strip()
    return [part.strip() for part in text.split("\t")] if "\t" in text else text.split()


def _form(spec: DatasetSpec) -> str:
    return "`IMAGE MASK` or `IMAGE`" if len(spec.frames) == 1 else "`NAME`, `IMAGE IMAGE MASK` or `IMAGE IMAGE`"


def _parse(line: str, root: Path, spec: DatasetSpec, where: str, anywhere: bool) -> Sample:
    fields, count = line_fields(line), len(spec.frames)
    if len(fields) == 1 < count:
        fields = [f"{folder}/{fields[0]}" for folder in (*spec.frames, spec.masks)]
    if not count <= len(fields) <= count + 1:
        raise DataError(
            f"{len(fields)} fields in a line",
            where=where,
            expected=_form(spec),
            remedy="separate them by tabs if a file name holds spaces",
        )
    paths = [root / name if anywhere else inside(name, root, where) for name in fields]
    mask = paths[count] if len(fields) > count and fields[count] != "None" else None
    # As the file system reads the name, so that `a//b` and `a/./b` are the sample `a/b`, also in a list written anew.
    return Sample(sample_id(PurePosixPath(fields[0]).as_posix(), spec), tuple(paths[:count]), mask)


def sample_id(image: str, spec: DatasetSpec) -> str:
    """Return the name of a sample, of which `image` is the first frame's path below the data folder."""
    return image if len(spec.frames) == 1 else image.removeprefix(f"{spec.frames[0]}/")
