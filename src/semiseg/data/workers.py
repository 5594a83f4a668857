"""Loader processes: they read ahead, leave signals to the training process, and are replaced where one dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from semiseg.data.batch import Batch
from semiseg.data.stream import TrainStream
from semiseg.errors import DataError, SemisegError

_GRACE = 30
"""Seconds that the training process has for its checkpoint after everybody was told to end."""

_DEATHS = ("exited unexpectedly", "is killed by signal")
"""How torch says, in a plain RuntimeError, that a loader process is gone; one that goes while it hands over a chunk
shows as a connection that ends."""

_LOOK = 5
"""Seconds between two looks whether the processes live, while a chunk is waited for."""
_SILENCE = 300
"""Seconds without a chunk after which the processes are given up: far more than reading one takes, and less than the
ten minutes after which the other training processes give this one up."""


def loader_workers(wanted: int, processes: int) -> int:
    """Return the number of loader processes: as wanted, or for -1 the cores left to this process, at most 8.

    Args:
        wanted: 0 or more, or -1.
        processes: how many train on this machine.
    """
    if wanted >= 0:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(0, cores // processes - 1))


def iterate(
    stream: TrainStream, *, start: int, workers: int, pin: bool, warn: Callable[[str], object] = lambda _: None
) -> Iterator[Batch]:
    """Yield the chunks from step `start` on, read ahead by `workers` processes (0: read here).

    Where such a process dies or hangs, others take over at the chunk that is due, with the same draws.

    Args:
        stream: the run's batches.
        start: first step.
        workers: loader processes.
        pin: copy to page-locked memory, for a GPU.
        warn: told of each time that others take over.

    Raises:
        DataError: a file turned out to be damaged, or the loader processes died or hung again before they gave any.
    """
    due = start * stream.division.accumulate
    died_at = -1
    while due < len(stream):
        try:
            for batch in _read_ahead(stream, due, workers, pin):
                if isinstance(batch, SemisegError):
                    raise batch
                yield batch
                due += 1
        except (RuntimeError, EOFError, ConnectionError) as error:
            if isinstance(error, RuntimeError) and not any(words in str(error) for words in _DEATHS):
                raise
            what = "hung" if isinstance(error, _Hung) else "died"
            if died_at == due:
                raise _dead(due // stream.division.accumulate, what) from error
            died_at = due
            warn(f"a loader process {what} before step {due // stream.division.accumulate + 1}; others take over")


class _Hung(EOFError):
    """No chunk came for so long that none will come."""


def _dead(steps: int, what: str) -> DataError:
    return DataError(
        f"the loader processes {what} twice before step {steps + 1}",
        where="data.workers",
        expected="enough memory, and enough shared memory (/dev/shm), for all of them; a disk that answers",
        remedy="see with `semiseg doctor` what there is, then --resume with a lower --data.workers; 0 needs none",
    )


def _read_ahead(stream: TrainStream, first: int, workers: int, pin: bool) -> Iterator[Batch | SemisegError]:
    """Yield the chunks from `first` on.

    Torch's handler of SIGCHLD is taken out again: it would raise wherever the training process happens to be when a
    loader process dies, in the middle of an optimizer step or of a checkpoint, instead of where a batch is fetched.
    """
    loader = DataLoader(
        _Carried(stream),
        batch_size=None,
        sampler=range(first, len(stream)),
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=leave_signals_to_the_trainer if workers else None,
        timeout=_LOOK if workers else 0,
    )
    if not workers:
        yield from loader
        return
    children = set(multiprocessing.active_children())
    before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    chunks = iter(loader)
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before)
    readers = set(multiprocessing.active_children()) - children
    for _ in range(first, len(stream)):
        yield _wait(chunks, readers)


def _wait(
    chunks: Iterator[Batch | SemisegError], readers: Iterable[multiprocessing.process.BaseProcess]
) -> Batch | SemisegError:
    """Return the next chunk; end the processes if none comes."""
    began = time.monotonic()
    while True:
        try:
            return next(chunks)
        except RuntimeError as error:
            if "timed out" not in str(error):
                raise
            if time.monotonic() - began >= _SILENCE:
                for reader in readers:
                    reader.kill()
                raise _Hung from error


class _Carried(TorchDataset["Batch | SemisegError"]):
    """Hands errors over as items: torch would raise its own RuntimeError for ours, with the worker's traceback."""

    def __init__(self, stream: TrainStream) -> None:
        self.stream = stream

    def __getitem__(self, index: int) -> Batch | SemisegError:
        try:
            return self.stream[index]
        except SemisegError as error:
            return error


def leave_signals_to_the_trainer(_: int) -> None:
    """Outlive the signals that a terminal or a scheduler sends to all processes of a run, as the trainer needs a while.

    A worker that died first would interrupt the trainer in the middle of its checkpoint. It ends with the trainer, or
    some seconds after a SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE))
