"""Means of what is logged, kept on the device until they are read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.engine.distributed import Processes

SKIPPED = "skipped"
"""The name of the number of steps that did not count."""


class Meter:
    """Adds up scalars and vectors over the steps since it was last read, without waiting for the device."""

    def __init__(self) -> None:
        """Start empty."""
        self.steps = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, logs: Mapping[str, Tensor], bad: Tensor | None = None) -> None:
        """Add the values of one step.

        Args:
            logs: shares of this process.
            bad: whether the step was skipped in all processes: then its values, which would spoil every mean, do not
                count; bool, on the device.
        """
        self.steps += 1
        if bad is not None:
            logs = {name: torch.where(bad, 0.0, value) for name, value in logs.items()} | {SKIPPED: bad}
        for name, value in logs.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def read(self, processes: Processes) -> dict[str, NDArray[np.float64]]:
        """Return the means over the steps, of shares summed over the processes, and start again.

        Where steps were skipped, their number is among them, and alone if all were.
        """
        if not self.sums:
            return {}
        summed = processes.sum(torch.cat([value.flatten() for value in self.sums.values()])).cpu().numpy()
        ends = np.cumsum([value.numel() for value in self.sums.values()])
        parts = zip(self.sums.items(), np.split(summed, ends[:-1]), strict=True)
        sums = {name: part.reshape(value.shape) for (name, value), part in parts}
        skipped = round(float(sums.pop(SKIPPED, 0.0)) / processes.count)
        counted = self.steps - skipped
        self.steps, self.sums = 0, {}
        means = {name: value / counted for name, value in sums.items()} if counted else {}
        return means | ({SKIPPED: np.asarray(float(skipped))} if skipped else {})

    def tensors(self, processes: Processes) -> dict[str, Tensor]:
        """Return the sums of all processes by name, for a checkpoint."""
        return {name: processes.sum(value) for name, value in self.sums.items()}

    def restore(self, steps: int, sums: Mapping[str, Tensor], processes: Processes) -> None:
        """Continue from a checkpoint: the main process holds the sums of all.

        Raises:
            ValueError: a number of steps that is none.
        """
        if type(steps) is not int or steps < 0:
            raise ValueError(f"{steps!r} is no number of steps")
        self.steps = steps
        self.sums = {
            name: value.to(processes.device) if processes.is_main else torch.zeros_like(value, device=processes.device)
            for name, value in sums.items()
        }
