"""Being asked to stop: signals of a scheduler or of a person become a checkpoint and an exit that can be resumed."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from semiseg.errors import RunStopped

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""A person at the keyboard; a scheduler that takes the machine back, and one that warns of it (Slurm's `--signal`)."""


class StopRequest:
    """Notes a signal instead of dying of it; a context manager.

    In the main thread only, where Python lets signals be handled; elsewhere nothing is noted. A second Ctrl-C
    interrupts at once.
    """

    def __init__(self) -> None:
        self.number = 0
        """The signal's number, 0 for none."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Begin to listen."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.number == number:
            raise KeyboardInterrupt
        self.number = number

    def refuse_more(self) -> None:
        """End a long piece of work that can be done again later.

        Raises:
            RunStopped: a signal came.
        """
        if self.number:
            raise stopped(self.number, "this was left for later")


def stopped(number: int, what: str) -> RunStopped:
    """Return the error of a run that a signal ended, with the exit code that schedulers expect."""
    name = signal.Signals(number).name
    # 128 + the signal, but SIGUSR1 only announces the SIGTERM that would follow.
    code = 130 if number == signal.SIGINT else 143
    return RunStopped(f"stopped by {name}; {what}", remedy="continue with --resume", exit_code=code)
