"""A row of the table: what was measured, as it is written to JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.clock import Timed, ratio
from benchmarks.speed.ground import Ground
from benchmarks.speed.machine import Machine

PLAIN = "plain"
"""The side that the others are held against."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was found.

    Attributes:
        name: `KIND/WHAT/...`, as `--only` takes it.
        unit: what one of is done, for example `step` or `image`.
        sides: by name; `plain` is what the others are held against.
        numbers: what was counted instead of timed, in bytes, by side.
        facts: whatever else there is to say.
        missing: why it was not measured, or nothing.
    """

    name: str
    unit: str = ""
    sides: Mapping[str, Timed] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""

    def ratios(self, what: str = "wall") -> dict[str, float]:
        """Return how many times as long, or as many bytes, the plain side took as each of the others."""
        if PLAIN in self.numbers:
            return {side: self.numbers[PLAIN] / value for side, value in self.numbers.items() if side != PLAIN}
        if PLAIN not in self.sides:
            return {}
        return {name: ratio(self.sides[PLAIN], side, what) for name, side in self.sides.items() if name != PLAIN}

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON: seconds of a unit, wall and processor, medians and all rounds."""
        if self.missing:
            return {"row": self.name, "not_measured": self.missing}
        sides = {
            name: {
                "wall": side.wall,
                "cpu": side.cpu,
                "units": side.units,
                "rounds": [[each.wall, each.cpu] for each in side.rounds],
            }
            for name, side in self.sides.items()
        }
        found: dict[str, Any] = {"row": self.name, "unit": self.unit}
        found |= {"seconds": sides, "ratio": self.ratios(), "ratio_cpu": self.ratios("cpu")} if sides else {}
        found |= {"bytes": dict(self.numbers), "ratio": self.ratios()} if self.numbers else {}
        return found | dict(self.facts)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One thing to measure.

    Attributes:
        name: of its row, or the first part of the names of its rows.
        measure: does it.
        left_out: says why it is no part of the default on a machine, or nothing. Named in full by `--only` it is done
            all the same.
        impossible: says why it cannot be measured on a machine at all, or nothing.
    """

    name: str
    measure: Callable[[Ground], Iterator[Row]]
    left_out: Callable[[Machine], str] = lambda machine: ""
    impossible: Callable[[Machine], str] = lambda machine: ""
