"""How a loader process treats signals that are meant for the training process."""

from __future__ import annotations

import signal

_GRACE = 30
"""Seconds that the training process has for its checkpoint after everybody was told to end."""


def leave_signals_to_the_trainer(_: int) -> None:
    """Outlive the signals that a terminal or a scheduler sends to all processes of a run, as the trainer needs a while.

    A worker that died first would interrupt the trainer in the middle of its checkpoint. It ends with the trainer, or
    some seconds after a SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE))
