"""What the data sets share: a plan of files to make, made in parallel, each written whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.errors import DataError
from semiseg.files import whole_file

IGNORE = 255
"""The mask value of pixels that are neither learned nor evaluated, in every published data set."""

_CHUNK = 16  # jobs handed to a process at once at most: most take milliseconds each

Fault = tuple[Path, str]
"""A raw file that cannot be used, and why."""


@dataclass(frozen=True)
class Job:
    """What is made of a piece of the release at once: one mask, or several tiles of a large image or of its mask.

    Attributes:
        part: the part of the data set that the files are counted in; None for tiles of images, which are not counted.
        source: the raw file it is made from, named where it cannot be used.
        files: where the results go.
        paint: returns the results in that order, masks (H, W) or images (H, W, 3) of uint8; called in another process,
            so it must be picklable.
    """

    part: str | None
    source: Path
    files: tuple[Path, ...]
    paint: Callable[[], Sequence[NDArray[np.uint8]]]

    @classmethod
    def of_mask(cls, part: str, source: Path, mask: Path, paint: Callable[[], NDArray[np.uint8]]) -> Job:
        """Return the job that makes the one mask that `paint` returns."""
        return cls(part, source, (mask,), partial(_alone, paint))

    def missing(self) -> int:
        """Return how many of the files do not exist."""
        return sum(not file.exists() for file in self.files)


def _alone(paint: Callable[[], NDArray[np.uint8]]) -> tuple[NDArray[np.uint8]]:
    return (paint(),)


@dataclass(frozen=True)
class Count:
    """How much there is of a part of a data set.

    Attributes:
        found: number in the raw release at hand.
        published: number in the published data set.
        of: what is counted, `masks` or, where a part has none, `images`.
    """

    found: int
    published: int
    of: str = "masks"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be made of a raw release.

    Attributes:
        classes: K; a mask holds 0 to K - 1 and 255.
        expected: the folders of the release, to be named where they are missing.
        jobs: the files to make.
        links: the folders of the result that are linked as they are, and the raw folder that each one links to.
        published: number of masks of each part in the published data set.
        others: what else the raw release holds: images without masks, or masks that are linked as they are.
        faults: raw files that no job could be planned from.
    """

    classes: int
    expected: str
    jobs: tuple[Job, ...]
    links: dict[Path, Path]
    published: dict[str, int]
    others: dict[str, Count] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def counts(self) -> dict[str, Count]:
        """Return what there is of each part once all jobs are done."""
        found = Counter(job.part for job in self.jobs for _ in job.files)
        return {part: Count(found[part], number) for part, number in self.published.items()} | self.others


def find_folder(raw: Path, places: Iterable[str], holds: str) -> Path | None:
    """Return the first of `places` below `raw` that holds an entry of this name, or None."""
    return next((raw / place for place in places if (raw / place / holds).exists()), None)


def file_name(name: str, where: Path) -> str:
    """Return a name that a raw release gives, to be joined to a folder, if it names a plain file.

    Raises:
        DataError: it would lead out of the folder, or is hidden.
    """
    if not name or name != PurePosixPath(name).name or "\\" in name or name.startswith("."):
        raise DataError(
            f"{name!r} is not the name of a file",
            where=where,
            expected="names without folders, as in the release",
            remedy="fetch the file again from its publisher",
        )
    return name


def refuse_nothing(plan: Plan, raw: Path) -> None:
    """Refuse a raw folder that holds nothing of the release.

    Raises:
        DataError: there are no masks to make or to link, and no damaged file that says why.
    """
    if not plan.jobs and not plan.faults and all(count.of != "masks" for count in plan.others.values()):
        raise DataError(
            "nothing of the release found", where=raw, expected=plan.expected, remedy="unpack the release there"
        )


def refuse_overwriting(plan: Plan) -> None:
    """Refuse a result whose files would take the place of raw ones.

    Raises:
        DataError: a file has the path of the one it is made from.
    """
    real = {
        folder: folder.resolve() for folder in {path.parent for job in plan.jobs for path in (job.source, *job.files)}
    }
    for job in plan.jobs:
        for file in job.files:
            if file.name == job.source.name and real[file.parent] == real[job.source.parent]:
                raise DataError("a file would replace a raw one", where=file, remedy="choose another output folder")


def link_images(plan: Plan) -> None:
    """Link the raw image folders into the result, relative where possible.

    Where the system has no symbolic links, or the folder exists, what is missing in it is hard-linked or copied.

    Raises:
        DataError: a raw folder is missing, or the link exists and leads elsewhere.
    """
    for link, folder in plan.links.items():
        if not folder.is_dir():
            raise DataError(
                "no such image folder", where=folder, expected=plan.expected, remedy="unpack the images there"
            )
        if link.exists() and link.samefile(folder):
            continue
        if link.is_symlink():
            raise DataError(
                f"the image folder is a link to {os.readlink(link)}",
                where=link,
                expected=f"a link to {folder}",
                remedy="remove the link, or choose another output folder",
            )
        if not _symlink(link, folder):
            shutil.copytree(folder, link, copy_function=_place, dirs_exist_ok=True)


def _symlink(link: Path, folder: Path) -> bool:
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(os.path.relpath(folder.resolve(), link.parent.resolve()), target_is_directory=True)
    except (OSError, ValueError):  # it exists; no links on this file system; no relative path between Windows' drives
        return False
    return True


def _place(source: str, target: str) -> str:
    """Give a file a second place, by a hard link or as a copy; a file that is there stays."""
    if not os.path.exists(target):
        try:
            os.link(source, target)
        except OSError:
            with whole_file(Path(target)) as draft:
                shutil.copyfile(source, draft)
    return target


def make_files(
    plan: Plan, *, workers: int, progress: Callable[[int, int], object]
) -> tuple[int, int, tuple[Fault, ...]]:
    """Make the files that do not exist.

    Args:
        plan: what to make.
        workers: number of processes; 0 works in this one.
        progress: called at the start and after each job with the number of files done and the number of all.

    Returns:
        How many were made, how many existed, and the raw files that cannot be used.

    Raises:
        DataError: a process was killed.
        FileError: a file cannot be written; what is made is kept.
    """
    missing = [job.missing() for job in plan.jobs]
    waiting = [(job, number) for job, number in zip(plan.jobs, missing, strict=True) if number]
    total, made = sum(len(job.files) for job in plan.jobs), 0
    existed = done = total - sum(missing)
    for folder in {file.parent for job, _ in waiting for file in job.files}:
        folder.mkdir(parents=True, exist_ok=True)
    progress(existed, total)
    faults = list(plan.faults)
    try:
        with _mapped(partial(_make, classes=plan.classes), [job for job, _ in waiting], workers) as results:
            for (job, number), reason in zip(waiting, results, strict=True):
                done += number
                if reason is None:
                    made += number
                else:
                    faults.append((job.source, reason))
                progress(done, total)
    except BrokenProcessPool as error:
        raise DataError(
            "a process was killed, perhaps for want of memory",
            remedy="run again with fewer workers: what is made is kept",
        ) from error
    return made, existed, tuple(dict.fromkeys(faults))  # several jobs may stumble over the same damage


@contextmanager
def _mapped(function: Callable[[Job], str | None], jobs: list[Job], workers: int) -> Iterator[Iterator[str | None]]:
    if not workers or not jobs:
        yield map(function, jobs)
        return
    # Spawned, not forked: a fork would take over the locks of the threads of this process.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_leave_interrupts)
    try:
        yield pool.map(function, jobs, chunksize=min(_CHUNK, 1 + len(jobs) // (4 * workers)))
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """Let the parent process alone answer to Ctrl-C; the files in hand are finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _make(job: Job, classes: int) -> str | None:
    """Make the missing files of a job; return why they cannot be made."""
    try:
        results = job.paint()
    except DataError as error:
        return str(error).splitlines()[0]
    counts_V = sum(np.bincount(pixels.ravel(), minlength=256) for pixels in results if pixels.ndim == 2)
    wrong = [int(value) for value in np.flatnonzero(counts_V) if value >= classes and value != IGNORE]
    if wrong:
        return f"mask values {wrong[:8]} are no class"
    for pixels, path in zip(results, job.files, strict=True):
        if not path.exists():
            _write(pixels, path)
    return None


def _write(pixels: NDArray[np.uint8], path: Path) -> None:
    with whole_file(path) as draft:
        Image.fromarray(pixels).save(draft, format="PNG")
