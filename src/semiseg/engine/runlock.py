"""The lock on a run: two processes that continue the same run would delete each other's files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from semiseg.engine.rundir import RunDirectory, refuse_place
from semiseg.errors import RunError


@contextmanager
def hold_run(directory: RunDirectory, *, resume: bool, warn: Callable[[str], object]) -> Iterator[None]:
    """Keep every other process from training in a directory while the block runs.

    The system gives the lock up when its holder ends, however it ends, so none is ever left behind. It holds between
    machines where their shared disk knows locks (NFS 4; Lustre mounted with `flock`).

    Args:
        directory: the run; it is made if there is none yet.
        resume: whether a run is to be continued there, not begun.
        warn: told if the disk knows no locks; the block runs all the same.

    Raises:
        RunError: another process holds it, or this is no place to begin or to continue a run; nothing is touched then.
    """
    refuse_place(directory, resume=resume)
    directory.path.mkdir(parents=True, exist_ok=True)
    # No fallback to a lock that is a mere file: it would outlive a machine that is gone.
    lock = FileLock(directory.lock, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
        directory.lock.write_text(_holder(), encoding="utf-8")
    except Timeout:
        raise RunError(
            f"another process trains in this run: {_read(directory.lock)}",
            where=directory.path,
            remedy="wait until it has ended, or start another run with --run.name NAME",
        ) from None
    except OSError as error:
        warn(f"the run cannot be locked ({error.strerror or error}): see to it that nothing else trains in it")
    try:
        yield
    finally:
        lock.release()


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S}"


def _read(lock: Path) -> str:
    """Return who holds a lock; Windows does not show it."""
    try:
        return lock.read_text(encoding="utf-8") or "it has just begun"
    except OSError:
        return "which one, this system does not tell"
