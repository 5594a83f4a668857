"""What the published lists name, made from the original releases: training masks, and tiles of image pairs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from semiseg.data.prepare import ade20k, cityscapes, coco, levir, pascal, whu
from semiseg.data.prepare.making import (
    Count,
    Fault,
    Plan,
    link_images,
    make_files,
    refuse_nothing,
    refuse_overwriting,
)
from semiseg.data.workers import loader_workers
from semiseg.errors import DataError, closest

__all__ = ["DATASETS", "Count", "Prepared", "prepare"]

DATASETS: dict[str, Callable[[Path, Path], Plan]] = {
    "pascal": pascal.plan,
    "cityscapes": cityscapes.plan,
    "ade20k": ade20k.plan,
    "coco": coco.plan,
    "levir": levir.plan,
    "whu": whu.plan,
}
"""What can be prepared, and what plans it from the raw folder and the folder for the result."""

_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `prepare` did."""

    made: int
    """Files made: masks, and tiles of images."""
    existed: int
    """Files left alone because they existed."""
    counts: dict[str, Count]
    """By part (`train`, `val`, `train_extra`, ...): how much there is, and how much the published data set has."""
    seconds: float
    """Wall time of all."""

    @property
    def differences(self) -> tuple[str, ...]:
        """One sentence for each part that is not as large as the published one."""
        return tuple(
            f"{part}: {count.found:,} {count.of}, published {count.published:,}"
            for part, count in self.counts.items()
            if count.found != count.published
        )

    def summary(self) -> str:
        """Return what was done, and how it compares with the published data set, in lines to print."""
        done = f"{self.made:,} files made, {self.existed:,} existed, {self.seconds:.0f} s"
        differing = [f"not as published: {line}" for line in self.differences]
        return "\n".join([done, *(differing or ["all parts are as large as published"])])

    def facts(self) -> dict[str, Any]:
        """Return the same for scripts, in types that JSON knows."""
        return asdict(self) | {"differences": list(self.differences)}


def prepare(
    dataset: str,
    raw: Path | str,
    out: Path | str,
    *,
    workers: int | None = None,
    show: Callable[[int, int], object] | None = None,
) -> Prepared:
    """Make of an original release what the published lists of a data set name and the release does not hold.

    These are training masks, or the tiles of large image pairs and of their masks. A file that exists is kept, so a
    broken run goes on where it stopped. Images of their final size are not copied, their folders are linked. A raw file
    that cannot be used stops nothing until the end.

    Args:
        dataset: a name of `DATASETS`.
        raw: the unpacked release; docs/datasets.md shows the folders.
        out: the folder for the result, to be used as `data.root`.
        workers: processes; 0 works in this one; default: by the number of cores, at most 8. A script that asks for
            processes needs `if __name__ == "__main__":`.
        show: called at the start and after each mask, or each strip of tiles, with the number of files done and of all;
            default: a bar on the terminal, if standard error is one.

    Raises:
        DataError: nothing of the release is there, a library is missing, a file would replace a raw one or cannot be
            written; or some raw files cannot be used: they are named after all other files are made.
    """
    start = time.perf_counter()
    raw, out = Path(raw), Path(out)
    plan = _plan(dataset, raw, out)
    refuse_nothing(plan, raw)
    refuse_overwriting(plan)
    link_images(plan)
    with _bar(dataset) if show is None else nullcontext(show) as progress:
        made, existed, faults = make_files(
            plan, workers=loader_workers(-1 if workers is None else workers, 1), progress=progress
        )
    if faults:
        raise _unusable(faults, made + existed)
    return Prepared(made=made, existed=existed, counts=plan.counts(), seconds=time.perf_counter() - start)


def _plan(dataset: str, raw: Path, out: Path) -> Plan:
    if dataset not in DATASETS:
        raise DataError(
            f"cannot prepare {dataset!r}{closest(dataset, DATASETS)}",
            expected=", ".join(DATASETS),
            remedy="name one of these; docs/data.md tells how a folder of your own is laid out",
        )
    if not raw.is_dir():
        raise DataError("no such folder", where=raw, expected="an unpacked release", remedy="correct the path")
    if out.exists() and not out.is_dir():
        raise DataError("the output is a file", where=out, expected="a folder", remedy="choose another output folder")
    return DATASETS[dataset](raw, out)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], object]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _unusable(faults: tuple[Fault, ...], good: int) -> DataError:
    shown = [f"{path}: {reason}" for path, reason in faults[:_SHOWN]]
    more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    return DataError(
        f"{len(faults)} raw files or masks cannot be used; all other {good:,} files are in place",
        where="\n            ".join(shown + more),
        remedy="replace these files and run the same command again",
    )
