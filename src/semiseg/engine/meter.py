"""Means of what is logged, kept on the device until they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.engine.distributed import Processes

SKIPPED = "skipped"
"""The name of the number of steps that did not count."""


def sent_to_host(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the host, without waiting for the device; what is returned waits and gives the copy.

    On a CPU that is the tensor itself: it may not be changed in place.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu
    copied = torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def waited() -> Tensor:
        done.synchronize()
        return copied

    return waited


@dataclass(frozen=True)
class Reading:
    """What a meter held, on its way to the host.

    Attributes:
        names: what was added up.
        shapes: of each of them.
        steps: how many steps were added.
        processes: how many processes had shares.
        sums: waits for the sums of all processes, float64, one after the other.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    steps: int
    processes: int
    sums: Callable[[], Tensor]

    def means(self) -> dict[str, NDArray[np.float64]]:
        """Wait for the device; return the means over the steps, of shares summed over the processes.

        Where steps were skipped, their number is among them, and alone if all were.
        """
        if not self.names:
            return {}
        parts = self.sums().split([shape.numel() for shape in self.shapes])
        found = zip(self.names, self.shapes, parts, strict=True)
        sums = {name: part.reshape(shape).numpy() for name, shape, part in found}
        skipped = round(float(sums.pop(SKIPPED, 0.0)) / self.processes)
        counted = self.steps - skipped
        means = {name: value / counted for name, value in sums.items()} if counted else {}
        return means | ({SKIPPED: np.asarray(float(skipped))} if skipped else {})


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
            logs = {name: value.masked_fill(bad, 0.0) for name, value in logs.items()} | {SKIPPED: bad}
        for name, value in logs.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def read(self, processes: Processes) -> dict[str, NDArray[np.float64]]:
        """Return the means as `Reading.means` does, and start again."""
        return self.take(processes).means()

    def take(self, processes: Processes) -> Reading:
        """Begin to read, without waiting for the device, and start again; all processes must call."""
        flat = [value.flatten() for value in self.sums.values()]
        sums = sent_to_host(processes.sum(torch.cat(flat)) if flat else torch.zeros(0))
        shapes = tuple(value.shape for value in self.sums.values())
        reading = Reading(tuple(self.sums), shapes, self.steps, processes.count, sums)
        self.steps, self.sums = 0, {}
        return reading

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
