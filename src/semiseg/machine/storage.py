"""Disks, shared memory and handles of files."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from huggingface_hub import constants

from semiseg.download import cache_folder
from semiseg.machine.check import Check, Verdict, gigabytes

_RUN, _LITTLE_DISK = 2e9, 2e10
"""Bytes. Two checkpoints and the draft of a third, 16 bytes a weight: dinov2_small 1.2 GB, base 4.7, large 16."""
_WEIGHTS = 5e9
"""Bytes. The weights of the largest encoder, dinov2_giant, take 4.5 GB."""
_LITTLE_SHARED = 1e9
"""Bytes. What eight loaders read ahead at crop 518 and batch 8, four batches of 17 MB each, takes 0.6 GB; Docker gives
0.06 GB, if one does not ask for more."""
_FEW_HANDLES = 1024


def check_disk() -> Check:
    """Look at the folder one works in: room, the right to write, and whether its disk knows locks."""
    here, free = Path.cwd(), shutil.disk_usage(".").free
    verdict: Verdict
    if not os.access(here, os.W_OK):
        verdict, advice = "bad", "runs cannot be written here: go to another folder, or pass --run.folder"
    elif free < _RUN:
        verdict, advice = "bad", "too little for the checkpoints of a run: free space, or pass --run.folder elsewhere"
    elif not _has_locks(here):
        verdict, advice = "note", "the disk knows no locks: see to it that no two processes train in one run"
    elif free < _LITTLE_DISK:
        verdict, advice = "note", "three checkpoints of dinov2_base take 4.7 GB, of dinov2_large 16 GB"
    else:
        verdict, advice = "good", ""
    return Check(name="disk", value=f"{gigabytes(free)} free in {here}", verdict=verdict, advice=advice)


def _has_locks(folder: Path) -> bool:
    """Lock a file without a name, which leaves no trace."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def check_cache() -> Check:
    """Look at where weights and lists are kept that are fetched."""
    places = {"lists and Meta's weights": cache_folder(), "the hub's weights": Path(constants.HF_HUB_CACHE)}
    free = {place: shutil.disk_usage(_existing(place)).free for place in places.values()}
    little = min(free.values()) < _WEIGHTS
    return Check(
        name="caches",
        value="; ".join(f"{what}: {gigabytes(free[place])} free in {place}" for what, place in places.items()),
        verdict="note" if little else "good",
        advice="weights take up to 4.5 GB: set SEMISEG_CACHE and HF_HOME to a disk with room" if little else "",
    )


def _existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def check_shared_memory() -> Check:
    """Look at the memory through which loader processes hand over their batches."""
    place = Path("/dev/shm")
    if not place.is_dir():
        return Check(name="shared memory", value="not limited on this system")
    free = shutil.disk_usage(place).free
    little = free < _LITTLE_SHARED
    return Check(
        name="shared memory",
        value=f"{gigabytes(free)} free in {place}",
        verdict="note" if little else "good",
        advice="loaders may die of a bus error: start the container with --ipc=host or --shm-size=8g, or train with "
        "--data.workers 0"
        if little
        else "",
    )


def check_handles() -> Check:
    """Look at how many files a process may have open; each tensor that a loader hands over is one."""
    if sys.platform == "win32":
        return Check(name="open files", value="not limited on this system")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 0 <= soft < _FEW_HANDLES
    return Check(
        name="open files",
        value=f"{soft:,} at a time" if soft >= 0 else "not limited",
        verdict="note" if few else "good",
        advice=f"loaders may run out of them: `ulimit -n {hard if hard > 0 else 65536}` before the training"
        if few
        else "",
    )
