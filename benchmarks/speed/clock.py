"""Seconds of the wall and of the processor, measured in rounds that alternate between the sides."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Seconds:
    """Of the wall, and of the processor: all threads of this process and of its loader processes."""

    wall: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One side of a row: seconds of a unit of its work in each round."""

    rounds: tuple[Seconds, ...]
    units: int
    """Units of work in a round."""

    def divided(self, parts: int) -> Timed:
        """Return the seconds of a smaller unit, of which a unit has so many."""
        rounds = tuple(Seconds(each.wall / parts, each.cpu / parts) for each in self.rounds)
        return Timed(rounds=rounds, units=self.units * parts)

    @property
    def wall(self) -> float:
        """The median over the rounds."""
        return median(each.wall for each in self.rounds)

    @property
    def cpu(self) -> float:
        """The median over the rounds."""
        return median(each.cpu for each in self.rounds)


def seconds_of(work: Work, device: torch.device) -> Seconds:
    """Time a piece of work, to its end on the device."""
    _settle(device)
    wall, cpu = time.perf_counter(), _processor()
    work()
    _settle(device)
    return Seconds(time.perf_counter() - wall, _processor() - cpu)


def alternate(
    sides: Mapping[str, Work],
    *,
    rounds: int,
    device: torch.device,
    budget: float,
    most: int = 100,
    before: Mapping[str, Work] | None = None,
) -> dict[str, Timed]:
    """Time the sides in turn, so that what else the machine does hits all of them.

    Args:
        sides: by name, each doing one unit of its work at a call.
        rounds: how often each has its turn; every other round goes backwards.
        device: what is waited for.
        budget: seconds that a turn should take: as many units as fit, at least one.
        most: units in a turn.
        before: what a side does before each of its turns, not timed.

    Returns:
        What each side took, after one unit that is not counted, and by whose length the units of a turn are chosen.
    """
    units = {name: _units(work, device, budget, most) for name, work in sides.items()}
    found: dict[str, list[Seconds]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            (before or {}).get(name, lambda: None)()
            taken = seconds_of(lambda name=name: [sides[name]() for _ in range(units[name])], device)
            found[name].append(Seconds(taken.wall / units[name], taken.cpu / units[name]))
    return {name: Timed(rounds=tuple(each), units=units[name]) for name, each in found.items()}


def _units(work: Work, device: torch.device, budget: float, most: int) -> int:
    """Return how many units fit, by the last of up to three units that warm the side up."""
    left = budget
    for _ in range(3):
        taken = seconds_of(work, device).wall
        left -= taken
        if left < 0:
            break
    return max(1, min(most, round(budget / max(taken, 1e-9))))


def ratio(slow: Timed, fast: Timed, what: str = "wall") -> float:
    """Return the median over the rounds of how many times as long one side took as the other."""
    pairs = zip(slow.rounds, fast.rounds, strict=True)
    return median(getattr(mine, what) / max(getattr(its, what), 1e-9) for mine, its in pairs)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> float:
    """Return the seconds of the processor so far, of this process, its ended and its living children."""
    ended = os.times()
    living = sum(_of_child(child.pid) for child in multiprocessing.active_children() if child.pid)
    return time.process_time() + ended.children_user + ended.children_system + living


def _of_child(pid: int) -> float:
    """Return the seconds of a living child from the kernel's account of it; 0 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
