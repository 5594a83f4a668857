"""What tells one content of a file from another: size, time of change and, where the file was read anyway, its hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

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


def take_fingerprint(path: Path, *, hashed: bool) -> Fingerprint:
    """Look at a file, and read it whole if its hash is wanted.

    Raises:
        DataError: it is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest() if hashed else None
    except OSError as error:
        raise DataError(f"unreadable file ({error})", where=path, remedy="restore the file or its rights") from error
    return Fingerprint(facts.st_size, facts.st_mtime_ns, sha256)
