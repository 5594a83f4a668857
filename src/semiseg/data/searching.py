"""Search folders and archives for images, one after the other, into columns: made for millions of files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.data.index import ImageIndex, Place, path_key
from semiseg.data.members import ARCHIVE_SUFFIX, list_members
from semiseg.errors import DataError

_YOUNG_NS = 2 * 10**9
"""A folder that changed so shortly before it was searched may change again within one tick of the disk's clock (two
seconds on FAT, some milliseconds elsewhere) and show the same time."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of one folder or archive, by name.

    Attributes:
        place: where they lie.
        files: columns `name`, `size`, `changed_ns` and `key` (an Arrow table); None where they are those of `known`.
        known: number of the place in the index that was given, if it holds one there.
    """

    place: Place
    files: Any
    known: int | None = None


def search(
    sources: Sequence[Path], suffixes: Sequence[str], known: ImageIndex | None, *, trust: bool
) -> Iterator[Listing]:
    """Search each source, a folder or a tar archive, in the order of names.

    As everywhere, links are followed, each folder is searched once, and hidden files are no data.

    Args:
        sources: folders and archives.
        suffixes: of images.
        known: an index of some of the places.
        trust: whether a place whose real path and time of change are those of `known` is not searched again.

    Raises:
        DataError: a source is missing, or a folder or archive cannot be read.
    """
    places = known.contents.places if known else ()
    numbers = {place.real: number for number, place in enumerate(places)}
    moved = {(place.source, place.name): number for number, place in enumerate(places)}
    roots = tuple(os.path.join(os.path.realpath(source), "") for source in sources)
    searched: set[str] = set()
    for source, top in enumerate(sources):
        left = [""]
        while left:
            name = left.pop()
            path, real = top / name, os.path.realpath(top / name)
            if real in searched:
                continue
            searched.add(real)
            place, number = _place(source, name, path, real), numbers.get(real, moved.get((source, name)))
            if number is not None and trust and is_unchanged(places[number], place):
                place = replace(places[number], source=source, name=name)
                yield Listing(place=place, files=None, known=number)
            else:
                listing = (
                    list_archive(place, path, suffixes) if place.size else list_folder(place, path, suffixes, roots)
                )
                yield replace(listing, known=number)
                place = listing.place
            left += [f"{name}/{folder}" if name else folder for folder in reversed(place.folders)]


def is_unchanged(before: Place, now: Place) -> bool:
    """Whether the files of a place are those of before, as far as its time of change tells."""
    return bool(now.stamp) and (before.real, before.stamp, before.size) == (now.real, now.stamp, now.size)


def place_now(before: Place, path: Path) -> Place:
    """Return a place as it is now.

    Raises:
        DataError: it is missing.
    """
    return _place(before.source, before.name, path, os.path.realpath(path))


def _place(source: int, name: str, path: Path, real: str) -> Place:
    try:
        facts = os.stat(real)
    except OSError as error:
        raise _unreadable(path, error) from error
    is_folder = os.path.isdir(real)
    if not is_folder and path.suffix.lower() != ARCHIVE_SUFFIX:
        raise DataError(
            "neither a folder nor a tar archive",
            where=path,
            remedy="correct --data.unlabeled; compressed archives are not read",
        )
    stamp = facts.st_mtime_ns if abs(time.time_ns() - facts.st_mtime_ns) > _YOUNG_NS else 0
    return Place(source=source, name=name, real=real, stamp=stamp, size=0 if is_folder else facts.st_size)


def _unreadable(path: Path, error: OSError) -> DataError:
    remedy = "correct --data.unlabeled, or restore the folder and its rights"
    return DataError(f"a folder cannot be read ({error.strerror})", where=path, remedy=remedy)


def list_folder(place: Place, path: Path, suffixes: Sequence[str], roots: Sequence[str] = ()) -> Listing:
    """List the images in a folder.

    Args:
        place: the folder, without its rows and folders.
        path: of it.
        suffixes: of images.
        roots: folders (with a separator at their ends) whose images are listed without being linked to.

    Raises:
        DataError: it cannot be read.
    """
    columns, folders, passed_over = _Columns(), [], 0
    left_out: list[tuple[str, str]] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_dir() or (name.lower().endswith(ARCHIVE_SUFFIX) and entry.is_file()):
                    folders.append(name)
                elif not name.lower().endswith(tuple(suffixes)):
                    passed_over += 1
                elif not _is_utf8(name):
                    left_out.append((repr(str(path / name)), "a name that is not UTF-8"))
                else:
                    real = os.path.realpath(entry.path) if entry.is_symlink() else f"{place.real}{os.sep}{name}"
                    if entry.is_symlink() and _is_listed(real, suffixes, roots):
                        passed_over += 1
                        continue
                    try:
                        facts = entry.stat()
                    except OSError as error:
                        left_out.append((str(path / name), f"unreadable file ({error.strerror})"))
                        continue
                    columns.add(name, facts.st_size, facts.st_mtime_ns, path_key(real))
    except OSError as error:
        raise _unreadable(path, error) from error
    place = replace(place, folders=tuple(sorted(folders)), passed_over=passed_over, left_out=tuple(left_out))
    return Listing(place=place, files=columns.table())


def list_archive(place: Place, path: Path, suffixes: Sequence[str]) -> Listing:
    """List the images in a tar archive, which keep its time of change.

    Raises:
        DataError: it is no whole archive.
    """
    columns, passed_over = _Columns(), 0
    left_out: list[tuple[str, str]] = []
    for member in list_members(path):
        hidden = any(part.startswith(".") for part in member.name.split("/") if part not in (".", ".."))
        if member.name and (hidden or not member.name.lower().endswith(tuple(suffixes))):
            passed_over += 1
        elif member.fault or not _is_utf8(member.name):
            shown = member.name if member.name.isprintable() else repr(member.name)
            left_out.append((str(path / shown), member.fault or "a name that is not UTF-8"))
        else:
            columns.add(member.spanned, member.size, place.stamp, path_key(f"{place.real}/{member.name}"))
    place = replace(place, passed_over=passed_over, left_out=tuple(left_out))
    return Listing(place=place, files=columns.table(in_order=True))


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in name)  # so Python holds bytes that are not


def _is_listed(real: str, suffixes: Sequence[str], roots: Sequence[str]) -> bool:
    """Whether a linked image is found without the link, too."""
    root = next((root for root in roots if real.startswith(root)), None)
    if root is None or not real.lower().endswith(tuple(suffixes)):
        return False
    return not any(part.startswith(".") for part in real.removeprefix(root).split(os.sep))


class _Columns:
    """Rows of files on their way into columns, a piece after the other, so that few are Python objects at once."""

    _PIECE = 2**16

    def __init__(self) -> None:
        self._rows: list[tuple[str, int, int, int]] = []
        self._tables: list[Any] = []

    def add(self, name: str, size: int, changed_ns: int, key: int) -> None:
        self._rows.append((name, size, changed_ns, key))
        if len(self._rows) == self._PIECE:
            self._tables.append(_columns(self._rows))
            self._rows = []

    def table(self, *, in_order: bool = False) -> Any:
        """Return all of it, by name; or in the order in which it came."""
        import pyarrow as pa

        table = pa.concat_tables([*self._tables, _columns(self._rows)])
        return table if in_order else table.sort_by("name")


def _columns(rows: Sequence[tuple[str, int, int, int]]) -> Any:
    import pyarrow as pa

    names, sizes, changes, keys = zip(*rows, strict=True) if rows else ((), (), (), ())
    kinds = {"name": pa.string(), "size": pa.int64(), "changed_ns": pa.int64(), "key": pa.uint64()}
    return pa.table(
        [pa.array(values, kind) for values, kind in zip((names, sizes, changes, keys), kinds.values(), strict=True)],
        names=list(kinds),
    )


def same_rows(files: Any, before: Any, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return for each row of `files` the row of `before` of its name, if some columns are the same there; else -1."""
    import pyarrow.compute as pc

    rows: NDArray[np.int64] = (
        pc.index_in(files["name"], value_set=before["name"].combine_chunks()).fill_null(-1).to_numpy()
    )
    rows = rows.astype(np.int64)
    for column in columns if len(before) else ():
        same = before[column].to_numpy()[rows] == files[column].to_numpy()
        rows = np.where(same, rows, -1)
    return rows
