"""The faults: what is done to a running training, and how that may end."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.starts import Start
from numpy.random import Generator

ROOM = 600_000
"""Bytes that a file may have on the full disk: more than a log or a report takes here, less than a checkpoint does."""

TWO_SAVED = 7
"""The step after which there are two checkpoints: of a run that has one only, its loss is a loss."""


def _no_matter(run: Path, draws: Generator) -> None:
    pass


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: for the table.
        strike: what is done to the processes of a start.
        ends: exit codes that a process may have then; of a signal its negative number.
        says: a start that ends with exit code 2 has to say this.
        damage: what is done to the run directory afterwards, before the next start.
        processes: of how many processes the training may be.
        workers: loader processes of each.
        after: the step to wait for at least.
    """

    name: str
    strike: Callable[[Start, Generator], None]
    ends: Sequence[int]
    says: str = ""
    damage: Callable[[Path, Generator], None] = _no_matter
    processes: Sequence[int] = (1,)
    workers: int = 0
    after: int = 1


def _signal(number: signal.Signals) -> Callable[[Start, Generator], None]:
    def strike(start: Start, draws: Generator) -> None:
        _kill(start.members[draws.integers(len(start.members))].pid, number)

    return strike


def _kill(process: int | None, number: signal.Signals) -> None:
    assert process is not None
    os.kill(process, number)


def _fill_disk(start: Start, draws: Generator) -> None:
    pid = start.members[0].pid
    assert pid is not None
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))


def _kill_worker(start: Start, draws: Generator) -> None:
    workers = start.workers()
    _kill(workers[draws.integers(len(workers))], signal.SIGKILL)


def _newest_file(run: Path) -> Path | None:
    return max(run.glob("checkpoints/step_*/tensors.safetensors"), default=None)


def _truncate(run: Path, draws: Generator) -> None:
    if file := _newest_file(run):
        os.truncate(file, int(draws.integers(file.stat().st_size)))


def _flip(run: Path, draws: Generator) -> None:
    if file := _newest_file(run):
        content = bytearray(file.read_bytes())
        content[draws.integers(len(content))] ^= 1 << int(draws.integers(8))
        file.write_bytes(content)


_KILL = _signal(signal.SIGKILL)
KINDS = (
    Kind("kill -9", _KILL, (-9,)),
    Kind("kill -9, loader process alive", _KILL, (-9,), workers=1),
    Kind("kill -9, newest checkpoint truncated", _KILL, (-9,), damage=_truncate, after=TWO_SAVED),
    Kind("kill -9, a bit of the newest checkpoint flipped", _KILL, (-9,), damage=_flip, after=TWO_SAVED),
    Kind("SIGTERM", _signal(signal.SIGTERM), (143,), processes=(1, 2)),
    Kind("SIGUSR1", _signal(signal.SIGUSR1), (143,), processes=(1, 2)),
    Kind("full disk", _fill_disk, (2,), says="cannot write"),
    Kind("dead loader process", _kill_worker, (0, 2), says="the loader processes died twice", workers=1),
    Kind("dead rank of two", _KILL, (-9, 1, 2), processes=(2,)),
)
