"""Checksums of a data folder, in the form of `sha256sum`: what training holds against the files that it reads.

`sha256sum --check manifest.sha256` in the data folder reads them too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from semiseg.data.config import DataConfig
from semiseg.data.fingerprints import take_fingerprint
from semiseg.errors import DataError
from semiseg.files import write_text

NAME = "manifest.sha256"
"""Name of the checksums in a data folder."""

_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")


def find_manifest(config: DataConfig) -> Path | None:
    """Return the checksums that the settings name, else those of the data folder; None if there are none."""
    if config.manifest is not None:
        return Path(config.manifest)
    own = Path(config.root or "") / NAME
    return own if own.is_file() else None


def read_manifest(path: Path) -> dict[str, str]:
    """Return the SHA-256 of files by their names, as lists have them.

    Raises:
        DataError: the checksums are missing or damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"unreadable checksums ({error})", where=path, remedy="correct --data.manifest") from error
    found = {}
    for number, line in enumerate(lines, 1):
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise DataError(
                "a line that is no checksum",
                where=f"{path}, line {number}",
                expected="SHA-256 and a name, as `semiseg data check --manifest` or sha256sum write them",
                remedy="restore the file, or remove it and write it anew",
            )
        name = parts[3].replace("\\\\", "\\") if parts[1] else parts[3]
        found[PurePosixPath(name).as_posix()] = parts[2]
    return found


def write_manifest(path: Path, sums: Mapping[str, str]) -> None:
    """Write the SHA-256 of files, by their names, so that `read_manifest` and sha256sum read it.

    Raises:
        FileError: it cannot be written.
    """
    lines = []
    for name, sha256 in sorted(sums.items()):
        escaped = name.replace("\\", "\\\\")
        lines.append(f"{sha256}  {name}\n" if escaped == name else f"\\{sha256}  {escaped}\n")
    write_text(path, "".join(lines))


def hold_against(path: Path, sha256: str) -> None:
    """Check that a file is what it was when its checksum was written.

    Raises:
        DataError: it is not, or it cannot be read.
    """
    if take_fingerprint(path, hashed=True).sha256 != sha256:
        raise changed_file(path)


def changed_file(path: Path | str) -> DataError:
    """Return the error of a file that is not what it was when its checksum was written."""
    return DataError(
        "a file that is not what it was when its checksum was written",
        where=path,
        expected=f"the content of then, by its SHA-256 in {NAME}",
        remedy="restore it from a backup; if it was changed on purpose, remove its line or the checksums",
    )
