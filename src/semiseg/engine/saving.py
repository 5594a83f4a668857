"""Checkpoints behind the training: it waits for a copy of its state in main memory, not for the disk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from semiseg.engine.checkpoint import Checkpoint, save_checkpoint
from semiseg.engine.tensor_file import HostCopy


class CheckpointWriter:
    """Writes one checkpoint at a time, in a thread; a context manager, which ends when the disk has all.

    What goes wrong in the thread is raised by the next call, and ends the training as it would in the foreground: the
    checkpoints before stay.

    Args:
        folder: the run's `checkpoints` folder.
        say: told of a checkpoint that could not be written while something else ended the training.
    """

    def __init__(self, folder: Path, say: Callable[[str], object]) -> None:
        self._folder, self._say, self._copy = folder, say, HostCopy()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        """Be ready to write."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is being written."""
        try:
            self.wait()
        except Exception as failure:
            if error is None:
                raise
            self._say(str(failure))
        finally:
            self._pool.shutdown()

    def save(self, checkpoint: Checkpoint) -> None:
        """Copy a checkpoint and write it behind; a checkpoint that is still being written is waited for.

        Raises:
            FileError: the one before could not be written.
        """
        self.wait()
        copied = replace(checkpoint, tensors=self._copy.of(checkpoint.tensors))
        self._pending = self._pool.submit(save_checkpoint, self._folder, copied)

    def check(self) -> None:
        """Raise what went wrong, without waiting.

        Raises:
            FileError: the checkpoint could not be written.
        """
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the newest checkpoint is whole.

        Raises:
            FileError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
