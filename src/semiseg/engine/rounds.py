"""A store of one's own for each start of the processes, in a store that outlives them.

torchrun keeps one store through all its restarts (PyTorch issue 135712), so a process that is started again may read
the address of one that is dead. Its count of restarts does not tell the starts apart: each machine counts its own.
"""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import timedelta
from typing import Any, Protocol, cast

import torch.distributed as dist

_PAUSE = 0.05
"""Seconds between two looks."""


class Store(Protocol):
    """What torch's stores do, as far as it is needed here."""

    def set(self, key: str, value: str, /) -> None:
        """Write a value."""

    def get(self, key: str, /) -> bytes:
        """Return a value."""

    def check(self, keys: list[str], /) -> bool:
        """Tell whether all keys have a value."""


def own_round(store: Store, rank: int, count: int, timeout: timedelta) -> Store:
    """Agree with the other processes of this start on a part of the store that none has used before.

    Each process writes down who it is. The main process reads the others' words, which may be of an earlier start, and
    calls all by name until each has answered to its call of this start.

    Args:
        store: what all processes reach.
        rank: number of this process.
        count: how many there are.
        timeout: how long to wait for the others.

    Raises:
        TimeoutError: the others do not come.
    """
    me = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
    deadline = time.monotonic() + timeout.total_seconds()
    store.set(f"semiseg/present/{rank}", me)
    while time.monotonic() < deadline:
        name = _call(store, me, count) if rank == 0 else _answer(store, me, rank)
        if name is not None:
            return cast(Store, dist.PrefixStore(f"semiseg/{name}", cast(Any, store)))  # type: ignore[attr-defined]
        time.sleep(_PAUSE)
    raise TimeoutError(f"process {rank} of {count} has met no other one in {timeout.total_seconds():.0f} s")


def _call(store: Store, me: str, count: int) -> str | None:
    """Call all who are present, in the main process; return the round's name once all have answered."""
    present = [f"semiseg/present/{rank}" for rank in range(count)]
    if not store.check(present):
        return None
    store.set("semiseg/called", json.dumps([store.get(key).decode() for key in present]))
    answers = [f"semiseg/answer/{rank}" for rank in range(1, count)]
    if not store.check(answers) or any(store.get(key).decode() != me for key in answers):
        return None
    return me


def _answer(store: Store, me: str, rank: int) -> str | None:
    """Answer if this process is called; return the round's name, which is the main process's."""
    if not store.check(["semiseg/called"]):
        return None
    called = json.loads(store.get("semiseg/called"))
    if me not in called[rank : rank + 1]:
        return None
    store.set(f"semiseg/answer/{rank}", called[0])
    return str(called[0])
