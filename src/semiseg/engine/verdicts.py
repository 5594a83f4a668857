"""What the evaluations of a run found, and which of them did not end: kept beside the checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from semiseg.files import write_text

TRIES = 2
"""How often an evaluation is begun: one that ends the process each time must not be repeated by every resume."""


@dataclass
class Verdicts:
    """The figure of each evaluation by its step, and how often those were begun that have none.

    Written apart from the checkpoints, because a checkpoint comes before the evaluation that may end the process.
    """

    path: Path
    found: dict[int, float] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, step: int, warn: Callable[[str], None]) -> Verdicts:
        """Read the verdicts up to a step, after which a resumed run continues; later ones will be found again.

        Args:
            path: the file; none is as good as an empty one.
            step: steps done.
            warn: told if the file is damaged; the run then knows of no evaluation before.
        """
        if not path.exists():
            return cls(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            parts = ({int(key): value for key, value in content[name].items()} for name in ("found", "begun"))
            found, begun = ({key: value for key, value in part.items() if key <= step} for part in parts)
            return cls(path, {key: float(value) for key, value in found.items()}, begun)
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            warn(f"{path.name} is damaged ({type(error).__name__}): earlier evaluations are not known any more")
            return cls(path)

    @property
    def best(self) -> float | None:
        """The best figure, None before the first."""
        return max(self.found.values(), default=None)

    @property
    def best_step(self) -> int:
        """The step of the best figure, the latest of equals; 0 before the first."""
        return max((step for step, value in self.found.items() if value == self.best), default=0)

    def may_begin(self, step: int) -> bool:
        """Whether an evaluation has neither ended nor been begun too often."""
        return step not in self.found and self.begun.get(step, 0) < TRIES

    def begin(self, step: int, *, write: bool) -> None:
        """Note that an evaluation begins; the main process writes it down."""
        self.begun[step] = self.begun.get(step, 0) + 1
        self._write(write)

    def end(self, step: int, value: float, *, write: bool) -> None:
        """Note what an evaluation found."""
        self.begun.pop(step, None)
        self.found[step] = value
        self._write(write)

    def _write(self, write: bool) -> None:
        if write:
            write_text(self.path, json.dumps({"found": self.found, "begun": self.begun}, indent=1) + "\n")
