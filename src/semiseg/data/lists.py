"""Samples, and the lists that name them: `IMAGE MASK` a line, relative to the data folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from semiseg.errors import DataError


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


def read_list(path: Path, root: Path, *, masks: bool = True) -> list[Sample]:
    """Read lines of `IMAGE MASK`, `IMAGE None` or `IMAGE`, relative to `root`.

    Args:
        path: the list.
        root: the data folder.
        masks: whether to keep the masks.

    Raises:
        DataError: the list is missing or empty, a line has more than two fields, or a path leaves the root.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"unreadable list ({error})", where=path, remedy="name an existing list file") from error
    samples = [
        _parse(line, root, masks, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not samples:
        raise DataError("empty list", where=path, expected="one `IMAGE MASK` a line", remedy="fill the list")
    return samples


def write_list(path: Path, samples: Iterable[Sample], root: Path) -> None:
    """Write a list that `read_list` reads as the same samples.

    Raises:
        DataError: a file's name cannot stand in a line.
    """
    lines = []
    for sample in samples:
        mask = sample.mask.relative_to(root).as_posix() if sample.mask else None
        line = f"{sample.id}\t{mask}" if " " in f"{sample.id}{mask}" else f"{sample.id} {mask}"
        if len(line.splitlines()) != 1 or _fields(line) != [sample.id, str(mask)]:
            raise DataError(
                "a name that no list can hold",
                where=repr(sample.id),
                expected="no tabs, no line breaks, no spaces at the ends",
                remedy="rename the file",
            )
        lines.append(line + "\n")
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def inside(name: str, root: Path, where: str) -> Path:
    """Join a listed path to the root.

    Raises:
        DataError: it would leave the root.
    """
    if name.startswith("/") or (".." in name and ".." in name.split("/")):
        raise DataError(
            f"path {name!r} leaves the data folder",
            where=where,
            expected=f"a path relative to {root}",
            remedy="list paths below the root, or link the folder into it",
        )
    return root / name


def _fields(line: str) -> list[str]:
    # Tabs, where there are any, so that file names with spaces can be listed too.
    text = line.strip()
    return [part.strip() for part in text.split("\t")] if "\t" in text else text.split()


def _parse(line: str, root: Path, masks: bool, where: str) -> Sample:
    fields = _fields(line)
    if len(fields) > 2:
        raise DataError(
            f"{len(fields)} fields in a line",
            where=where,
            expected="`IMAGE MASK` or `IMAGE`",
            remedy="separate the two by a tab if a file name holds spaces",
        )
    image = inside(fields[0], root, where)
    has_mask = masks and len(fields) == 2 and fields[1] != "None"
    return Sample(fields[0], (image,), inside(fields[1], root, where) if has_mask else None)
