"""What is logged of the steps: taken after one of them, and written while the device is at the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semiseg.engine.conflict import COSINE
from semiseg.engine.guard import PATIENCE, Guard
from semiseg.engine.meter import SKIPPED, Reading, sent_to_host
from semiseg.engine.progress import Progress
from semiseg.engine.runlog import RunLog
from semiseg.engine.state import RunState
from semiseg.engine.task import Task
from semiseg.errors import RunError


@dataclass(frozen=True)
class _Taken:
    """The numbers of the steps up to `step`, those of the device on their way to the host."""

    step: int
    means: Reading
    conflict: Reading
    in_a_row: Callable[[], Tensor]
    samples: tuple[str, ...]
    of_host: dict[str, float]
    best: float | None


class StepNumbers:
    """Writes down the means of the steps since the last time, one step late: a GPU would idle if it were waited for.

    A CPU, which is done when the step is, is asked at once. So is a GPU before a checkpoint and an evaluation.

    Args:
        task: what is trained.
        guard: of the run.
        log: its voice.
        progress: its pace.
    """

    def __init__(self, task: Task, guard: Guard, log: RunLog, progress: Progress) -> None:
        self.task, self.guard, self.log, self.progress = task, guard, log, progress
        self._taken: _Taken | None = None

    def take(self, state: RunState) -> None:
        """Take the numbers of the steps so far, without waiting for a GPU; all processes must call.

        Raises:
            RunError: as `write` does, on a CPU.
        """
        self._taken = _Taken(
            step=state.step,
            means=state.meter.take(self.task.processes),
            conflict=state.conflict.take(self.task.processes),
            in_a_row=sent_to_host(self.guard.in_a_row),
            samples=self.guard.samples,
            of_host={"lr": state.optimizer.param_groups[0]["lr"], **self.progress.pace(state.step)},
            best=state.verdicts.best,
        )
        if not _lags(self.task.processes.device):
            self.write()

    def write(self) -> None:
        """Write what was taken, if anything; it is waited for.

        Raises:
            RunError: too many steps in a row were not finite, in all processes alike.
        """
        taken, self._taken = self._taken, None
        if taken is None:
            return
        in_a_row = int(taken.in_a_row())
        if in_a_row >= PATIENCE:
            raise self._not_finite(taken, in_a_row)
        values = {name: float(value) for name, value in taken.means.means().items()}
        values |= {name: float(value) for name, value in taken.conflict.means().items() if name == COSINE}
        if SKIPPED in values:
            self.log.say(f"{values[SKIPPED]:.0f} steps up to step {taken.step} skipped: loss or gradient not finite")
        values |= taken.of_host
        named = {f"train/{name}": value for name, value in values.items()}
        self.log.numbers(taken.step, self.progress.epoch(taken.step), named)
        if "loss" in values:
            self.log.status(self.progress.line(taken.step, values, taken.best))

    def _not_finite(self, taken: _Taken, in_a_row: int) -> RunError:
        return RunError(
            f"the loss or its gradient was not finite in {in_a_row} steps in a row, up to step {taken.step}",
            where=f"{self.task.directory.path}; samples of the last step: {', '.join(taken.samples)}",
            remedy="continue from the last checkpoint with --resume and a lower --optimizer.lr, or --precision fp32",
        )


def _lags(device: torch.device) -> bool:
    """Whether a device works behind the host, which would have to wait for what it reads."""
    return device.type != "cpu"
