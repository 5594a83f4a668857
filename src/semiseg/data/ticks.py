"""How those who wait are told what is done."""

from __future__ import annotations

from collections.abc import Callable

Tick = Callable[[int, int], object]
"""Is told how many of how many are done."""


def no_tick(done: int, count: int) -> None:
    """Tell nobody."""
