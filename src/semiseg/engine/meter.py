"""Means of logged scalars, kept on the device until they are read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from semiseg.engine.distributed import Processes


class Meter:
    """Adds up scalars over the steps since it was last read, without waiting for the device."""

    def __init__(self) -> None:
        """Start empty."""
        self.steps = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, logs: Mapping[str, Tensor]) -> None:
        """Add the values of one step."""
        self.steps += 1
        for name, value in logs.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def read(self, processes: Processes) -> dict[str, float]:
        """Return the means over the steps, of shares summed over the processes, and start again."""
        if not self.sums:
            return {}
        summed = processes.sum(torch.stack(list(self.sums.values()))) / self.steps
        means = dict(zip(self.sums, summed.tolist(), strict=True))
        self.steps, self.sums = 0, {}
        return means

    def tensors(self, processes: Processes) -> dict[str, Tensor]:
        """Return the sums of all processes by name, for a checkpoint."""
        return {name: processes.sum(value) for name, value in self.sums.items()}

    def restore(self, steps: int, sums: Mapping[str, Tensor], processes: Processes) -> None:
        """Continue from a checkpoint: the main process holds the sums of all."""
        self.steps = steps
        self.sums = {
            name: value.to(processes.device) if processes.is_main else torch.zeros_like(value, device=processes.device)
            for name, value in sums.items()
        }
