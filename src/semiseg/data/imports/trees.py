"""What an export is read from: a folder, one file, or a ZIP, which is read in place and never unpacked as a whole."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from semiseg.data.folders import files_below
from semiseg.errors import DataError

MAX_TEXT_BYTES = 2**30
"""A longer file of annotations is not read; that of COCO's 118,287 images has 0.45 GB."""
MALFORMED = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
"""What reading JSON of another structure than expected stumbles over."""
_MAX_PARTS = 2_000_000
_MAX_SWELL, _FREE_BYTES = 200, 2**28
"""What the parts of a ZIP hold may be so many times its own size, or 256 MB; annotations as text shrink to a tenth."""


class Tree(ABC):
    """Files by their names.

    Attributes:
        where: the folder, file or ZIP.
        names: of all files, relative, in their order; hidden ones are left out.
    """

    where: Path
    names: tuple[str, ...]
    _last: tuple[str, Any] = "", None

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file of annotations.

        Raises:
            DataError: it is longer than `MAX_TEXT_BYTES`, or damaged.
        """

    @abstractmethod
    def path(self, name: str) -> Path | None:
        """Return where a file lies on the disk; None if it lies in a ZIP."""

    @abstractmethod
    def copy(self, name: str, target: Path) -> None:
        """Write a copy of a file.

        Raises:
            DataError: it is damaged.
            OSError: it cannot be written.
        """

    @contextmanager
    def on_disk(self, name: str, scratch: Path) -> Iterator[Path]:
        """Give a path at which a file can be read, for a while; one in a ZIP is copied to `scratch`."""
        path = self.path(name)
        if path is not None:
            yield path
            return
        copy = scratch.with_suffix(PurePosixPath(name).suffix)
        self.copy(name, copy)
        try:
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def json(self, name: str) -> Any:
        """Return the content of a JSON file.

        Raises:
            DataError: as `read`, or no JSON.
        """
        if self._last[0] == name:  # several formats ask for the first file
            return self._last[1]
        try:
            self._last = name, json.loads(self.read(name))
            return self._last[1]
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"unreadable JSON ({error})", where=self.title(name), remedy="export the annotations again"
            ) from error

    def title(self, name: str) -> str:
        """Return how a message names a file."""
        return str(self.where / name)


class Folder(Tree):
    """The files below a folder, or one file alone."""

    def __init__(self, where: Path) -> None:
        self.where = where if where.is_dir() else where.parent
        self.names = tuple(files_below(where, ("",))) if where.is_dir() else (where.name,)

    def read(self, name: str) -> bytes:  # noqa: D102
        path = self.where / name
        try:
            if path.stat().st_size > MAX_TEXT_BYTES:
                _refuse_long(path)
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"unreadable file ({error.strerror})", where=path, remedy="restore it") from error

    def path(self, name: str) -> Path | None:  # noqa: D102
        return self.where / name

    def copy(self, name: str, target: Path) -> None:  # noqa: D102
        shutil.copyfile(self.where / name, target)


class Zip(Tree):
    """The files in a ZIP.

    Raises:
        DataError: it is damaged or encrypted, a name in it leads elsewhere, or it stands for far more than its size.
    """

    def __init__(self, where: Path) -> None:
        self.where = where
        try:
            self._zip = zipfile.ZipFile(where)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise DataError(f"unreadable ZIP ({error})", where=where, remedy="export the annotations again") from error
        # Not `is_dir`, which fails on a part without a name.
        parts = [part for part in self._zip.infolist() if not part.filename.endswith("/")]
        _refuse_bomb(parts, where)
        for part in parts:
            _refuse_strange(part, where)
        self._parts = {part.filename: part for part in parts}
        if len(self._parts) < len(parts):
            raise DataError("a ZIP with two files of one name", where=where, remedy="pack the export again")
        self.names = tuple(sorted(name for name in self._parts if not _is_hidden(name)))

    def read(self, name: str) -> bytes:  # noqa: D102
        if self._parts[name].file_size > MAX_TEXT_BYTES:
            _refuse_long(Path(self.title(name)))
        with self._reading(name):
            return self._zip.read(self._parts[name])

    def path(self, name: str) -> Path | None:  # noqa: D102
        return None

    def copy(self, name: str, target: Path) -> None:  # noqa: D102
        with self._reading(name), self._zip.open(self._parts[name]) as part, target.open("wb") as file:
            shutil.copyfileobj(part, file)

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(
                f"damaged file in a ZIP ({error})", where=self.title(name), remedy="export the annotations again"
            ) from error


def open_tree(where: Path) -> Tree:
    """Open a folder, a ZIP or a file of annotations.

    Raises:
        DataError: there is no such file, or as `Zip`.
    """
    if not where.exists():
        raise DataError("no such file or folder", where=where, remedy="correct the path")
    return Zip(where) if where.is_file() and zipfile.is_zipfile(where) else Folder(where)


def json_files(tree: Tree, is_kind: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    """Yield the names and contents of the JSON files of a kind.

    Raises:
        DataError: as `Tree.json`.
    """
    for name in tree.names:
        if name.lower().endswith(".json") and is_kind(content := tree.json(name)):
            yield name, content


def holds_json(tree: Tree, is_kind: Callable[[Any], bool]) -> bool:
    """Whether there is a JSON file of a kind; raises as `json_files`."""
    return any(True for _ in json_files(tree, is_kind))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _refuse_long(path: Path) -> NoReturn:
    raise DataError(
        "a file of annotations that is too long",
        where=path,
        expected=f"at most {MAX_TEXT_BYTES:,} bytes",
        remedy="export the annotations in parts",
    )


def _refuse_bomb(parts: list[zipfile.ZipInfo], where: Path) -> None:
    held, size = sum(part.file_size for part in parts), where.stat().st_size
    if len(parts) > _MAX_PARTS or held > max(_FREE_BYTES, _MAX_SWELL * size):
        raise DataError(
            f"a ZIP of {size:,} bytes that stands for {len(parts):,} files of {held:,} bytes",
            where=where,
            expected=f"at most {_MAX_SWELL} times its size, and {_MAX_PARTS:,} files",
            remedy="if you trust it, unpack it yourself and import the folder",
        )


def _refuse_strange(part: zipfile.ZipInfo, where: Path) -> None:
    """Refuse what no annotation tool writes: ways out of the folder, links, passwords, parts outside of the file."""
    name, mode = part.filename, part.external_attr >> 16
    steps = name.split("/")
    leads_out = name.startswith("/") or "\\" in name or "\0" in name or ":" in steps[0] or {"..", ".", ""} & {*steps}
    what = (
        "a name that leads elsewhere"
        if leads_out
        else "a link"
        if stat.S_ISLNK(mode)
        else "a file under a password"
        if part.flag_bits & 1
        else "a file that begins before its start"
        if part.header_offset < 0
        else ""
    )
    if what:
        raise DataError(
            f"{what} in a ZIP: {name!r}",
            where=where,
            expected="plain files in plain folders",
            remedy="export the annotations again, or unpack it yourself and import the folder",
        )
