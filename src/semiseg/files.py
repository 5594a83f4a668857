"""Files and folders that appear whole or not at all, and stay: the one place that writes them. And bounded reading.

Whatever ends the process, a reader finds the old content or the new one, never a part. A draft is written beside its
place, flushed to the disk, and moved there in one step, which is flushed too.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from semiseg.errors import FileError

MAX_JSON_BYTES = 2**23
"""A longer JSON file in a model directory or a checkpoint is not ours."""

_REMEDIES = {
    errno.ENOSPC: "free space there and run the same again",
    errno.EDQUOT: "free space of your quota and run the same again",
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`) and run the same again",
    errno.EEXIST: "name another folder: a part of this path is a file",
    errno.ENOTDIR: "name another folder: a part of this path is a file",
}
_DRAFTS = ".draft-*.part"
_REMEDY = "make the folder writable, or name another one"


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content, 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_file(path: Path, *, remedy: str | None = None) -> Iterator[Path]:
    """Give a path to write to; the file there becomes `path` when the block ends, and is removed if it fails.

    Missing folders are made. Nothing but writing belongs into the block: its errors are taken for errors of writing.

    Args:
        path: where the file shall stand; an existing one is replaced.
        remedy: what to do if that fails; default: by the cause.

    Raises:
        FileError: no room, no right to write, or no such disk any more.
    """
    with _as_file_error(path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _new_draft(path)
        mode = draft.stat().st_mode
        try:
            yield draft
            draft.chmod(mode)  # some libraries make files that their owner alone may read
            _sync(draft)
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _sync(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes `path` when the block ends, and is removed if it fails.

    Args:
        path: where the folder shall stand; it must not exist when the block ends, or be empty.

    Raises:
        FileError: no room, no right to write, or no such disk any more.
    """
    with _as_file_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _new_draft(path, folder=True)
        try:
            yield draft
            for part in draft.rglob("*"):
                if part.is_symlink():  # what it leads to is not ours
                    continue
                part.chmod(draft.stat().st_mode if part.is_dir() else draft.stat().st_mode & 0o666)
                _sync(part)
            _sync(draft)
            os.replace(draft, path)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; see `whole_file`."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of at most `MAX_JSON_BYTES`.

    Raises:
        ValueError: longer, or no JSON.
        OSError: it cannot be read.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"longer than {MAX_JSON_BYTES:,} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("too deep") from error


def is_bare(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what killed processes have left."""
    return {*folder.iterdir()} <= {*folder.glob(_DRAFTS)}


def remove_drafts(folder: Path) -> None:
    """Remove what killed processes have left in a folder that no other process writes to."""
    for draft in folder.glob(_DRAFTS):
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)


def _new_draft(path: Path, *, folder: bool = False) -> Path:
    """Make a file or folder beside `path` under a name that is nobody else's, also on a disk of many machines.

    The name is short, as `path.name` may already be as long as the file system allows, and hidden, with a last suffix
    that makes it no image.
    """
    for number in itertools.count():
        draft = path.parent / f".draft-{os.getpid()}-{number}{path.suffix}.part"
        try:
            draft.mkdir() if folder else draft.touch(exist_ok=False)
        except FileExistsError:
            continue
        return draft
    raise AssertionError("the count never ends")


def _sync(path: Path) -> None:
    """Make the file system keep what was written, also across a power cut."""
    folder = path.is_dir()
    if folder and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not folder or error.errno not in (errno.EBADF, errno.EINVAL):  # some network disks flush no folders
            raise
    finally:
        os.close(handle)


@contextmanager
def _as_file_error(path: Path, remedy: str | None = None) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _number(error)
        reason = os.strerror(number) if number else str(error)
        remedy = remedy or _REMEDIES.get(number, _REMEDY)
        raise FileError(f"cannot write {path.name} ({reason})", where=path, remedy=remedy) from error


def _number(error: OSError | SafetensorError) -> int:
    """Return the system's number of an error; safetensors has it in its text alone. 0: it has none."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"os error (\d+)", str(error))
    return int(found[1]) if found else 0
