"""What tells one content of a file from another: size, time of change and, where the file was read anyway, its hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from semiseg.data.members import archive_of, open_bytes
from semiseg.errors import DataError


class Fingerprint(NamedTuple):
    """A file as it was: bytes, time of change in nanoseconds, and SHA-256 in hexadecimal digits, None if not hashed."""

    size: int
    changed_ns: int
    sha256: str | None

    def is_like(self, other: Fingerprint) -> bool:
        """Whether both may be of one content: by their hashes if both have one, else by their sizes.

        The time of change alone says nothing, as a copy of a data set has another one.
        """
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return self.size == other.size


def refuse_other_size(path: Path, size: int) -> None:
    """Check that a file has as many bytes as when it was looked at.

    Raises:
        DataError: it has not, or it is missing.
    """
    try:
        now = os.stat(path).st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    if now != size:
        raise DataError(
            f"a file of {now:,} bytes that had {size:,} when the index was made",
            where=path,
            remedy="restore it; the next start looks at all images that changed",
        )


def take_fingerprint(path: Path, *, hashed: bool) -> Fingerprint:
    """Look at a file, and read it whole if its hash is wanted.

    Raises:
        DataError: it is missing or cannot be read.
    """
    try:
        with open_bytes(path) as file:
            archive = archive_of(path)
            facts = os.stat(archive[0] if archive else path)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest() if hashed else None
    except OSError as error:
        raise _unreadable(path, error) from error
    return Fingerprint(archive[2] if archive else facts.st_size, facts.st_mtime_ns, sha256)


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"unreadable file ({error})", where=path, remedy="restore the file or its rights")
