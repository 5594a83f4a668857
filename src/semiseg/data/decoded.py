"""Decoded images and masks on the disk, read as mapped bytes: what is decoded once is not decoded in every epoch.

An entry is named by the hash of the file's content and of how it was decoded, so a file that changes, or is damaged,
has no entry, whatever its time says. Entries appear whole or not at all, and are the same whoever writes them: any
number of processes and runs can share the folder. It holds no more than its limit; what was not used for a day makes
room.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from semiseg.data.members import open_bytes
from semiseg.download import cache_folder
from semiseg.errors import FileError
from semiseg.files import whole_file

GIGABYTE = 10**9

_IDLE = 86_400
"""Seconds without use after which an entry may go."""

_RECOUNT = 64
"""Entries that a process adds before it looks again what the others added."""


def decoded_cache(gigabytes: float) -> DecodedCache | None:
    """Return the cache of this user, none for 0 gigabytes."""
    return DecodedCache(cache_folder() / "decoded", int(gigabytes * GIGABYTE)) if gigabytes else None


class DecodedCache:
    """A bounded folder of arrays."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Use `folder`, made when it is needed, for at most `limit` bytes."""
        self.folder, self.limit = folder, limit
        self._used = 0
        self._until_recount = 0

    def array(
        self, path: Path, how: str, decode: Callable[[], NDArray[np.uint8]], share: float = 1.0
    ) -> NDArray[np.uint8]:
        """Return what `decode()` returns for the file, from the folder if it is there; read-only.

        Args:
            path: the file that is decoded.
            how: in words, all that the result depends on beside the file's content.
            decode: decodes the file.
            share: part of the limit up to which a new entry is stored.
        """
        entry = self._entry(path, how)
        found = _mapped(entry) if entry else None
        if found is not None:
            return found
        pixels = decode()
        if entry and self._has_room(pixels.nbytes, share):
            self._store(entry, pixels)
        return pixels

    def _entry(self, path: Path, how: str) -> Path | None:
        """Return where a file's array is kept; None if it cannot be read, of which `decode` can say more."""
        try:
            with open_bytes(path) as file:
                key = hashlib.file_digest(file, "sha256")
        except OSError:
            return None
        key.update(f"{how}, by Pillow {PIL.__version__}".encode())
        name = key.hexdigest()
        return self.folder / name[:2] / f"{name}.npy"

    def _store(self, entry: Path, pixels: NDArray[np.uint8]) -> None:
        try:
            with whole_file(entry) as draft, draft.open("wb") as file:
                np.save(file, pixels, allow_pickle=False)
        except FileError:  # a full disk ends the storing, not the training
            self._used, self._until_recount = self.limit, _RECOUNT
            return
        self._used += pixels.nbytes

    def _has_room(self, size: int, share: float) -> bool:
        self._until_recount -= 1
        if self._until_recount < 0:
            self._used, self._until_recount = self._make_room(), _RECOUNT
        return self._used + size <= share * self.limit

    def _make_room(self) -> int:
        """Remove idle entries, the longest idle first, while over half of the limit is used; return what is used."""
        files = []
        for entry in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):  # another process removed it
                status = entry.stat()
                files.append((status.st_mtime, status.st_size, entry))
        used, idle_since = sum(size for _, size, _ in files), time.time() - _IDLE
        for used_at, size, entry in sorted(files):
            if used_at > idle_since or used <= self.limit / 2:
                break
            entry.unlink(missing_ok=True)
            used -= size
        return used


def _mapped(entry: Path) -> NDArray[np.uint8] | None:
    """Return an entry's array and mark it as used; None if there is none, or a part of one after a crash."""
    try:
        pixels = np.load(entry, mmap_mode="r", allow_pickle=False)
        os.utime(entry)
    except (OSError, ValueError, EOFError):
        return None
    return pixels if pixels.dtype == np.uint8 else None
