"""Images inside of tar archives, read where they lie: nothing is unpacked.

An image of an archive has a path of its own, `ARCHIVE.tar/OFFSET+SIZE/NAME`: no file can have one, as an archive is no
folder. So it is a path for whoever handles samples, and only what opens files knows more.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from semiseg.errors import DataError

ARCHIVE_SUFFIX = ".tar"

_MEMBER = re.compile(r"(.+\.tar)/(\d+)\+(\d+)/(.+)", re.DOTALL)
_SPAN = re.compile(r"\d+\+\d+/")
_LONGEST_HEADER = 2**20
"""Most bytes that are read at once while members are listed: a header that claims to be longer is none."""


class Member(NamedTuple):
    """An image in an archive: its name, and where its bytes lie. `fault`: why it cannot be used, empty if it can."""

    name: str
    offset: int
    size: int
    fault: str = ""

    @property
    def spanned(self) -> str:
        """What stands below the archive in the path of the image."""
        return f"{self.offset}+{self.size}/{self.name}"


def without_span(name: str) -> str:
    """Return the name of an image in its archive, or folder."""
    return name.split("/", 1)[1] if _SPAN.match(name) else name


def archive_of(path: Path) -> tuple[Path, int, int] | None:
    """Return the archive of an image, and where its bytes begin and how many they are; None for a file of its own."""
    found = _MEMBER.fullmatch(text) if f"{ARCHIVE_SUFFIX}/" in (text := str(path)) else None
    return (Path(found[1]), int(found[2]), int(found[3])) if found and os.path.isfile(found[1]) else None


def open_bytes(path: Path) -> io.BufferedReader:
    """Open an image, in an archive or a file of its own.

    Raises:
        OSError: it cannot be read.
    """
    found = archive_of(path)
    return io.BufferedReader(_Span(*found), 2**16) if found else path.open("rb")


class _Span(io.RawIOBase):
    """A part of a file, which is open only while it is read."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._path, self._start, self._size, self._place = path, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with self._path.open("rb", buffering=0) as file:
            file.seek(self._start + self._place)
            content = file.read(max(0, min(len(buffer), self._size - self._place)))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


class _Bounded:
    """A file of which no one reads much at once, as a hostile header may ask for gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def list_members(path: Path) -> Iterator[Member]:
    """Yield the regular files of an archive in their order; a part that cannot be used has a `fault`.

    Where the archive is damaged behind its first member, the last that comes has a fault, and no name.

    Raises:
        DataError: it is no tar archive, or a compressed one.
    """
    last = -1
    names: set[str] = set()
    try:
        with path.open("rb") as file, tarfile.open(fileobj=cast(BinaryIO, _Bounded(file)), mode="r:") as archive:
            size = os.fstat(file.fileno()).st_size
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if info.offset_data <= last:
                    raise tarfile.ReadError("its headers run in a circle")
                last = info.offset_data
                if info.isdir():
                    continue
                yield Member(info.name, info.offset_data, info.size, _fault(info, size, names))
                names.add(info.name)
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"a damaged header at byte {archive.offset:,}")
    except Exception as error:  # a parser of strange bytes raises anything, RecursionError among others
        if last >= 0:
            yield Member("", last, 0, f"the archive is damaged behind byte {last:,} ({error})")
            return
        raise DataError(
            f"unreadable archive ({error})",
            where=path,
            expected="a whole tar archive that is not compressed, as WebDataset writes them",
            remedy="write it anew, or take it out of data.unlabeled",
        ) from error


def _fault(info: tarfile.TarInfo, size: int, names: set[str]) -> str:
    if not info.isreg() or info.issparse():
        return "a link, a device or a sparse file, which are not read"
    if info.offset_data + info.size > size:
        return "its bytes end beyond the archive, which was cut off"
    if info.name.startswith("/") or ".." in info.name.split("/") or "\0" in info.name or not info.name.isprintable():
        return "a name that leads out of the archive, or that is not printable"
    return "a name that is there twice" if info.name in names else ""
