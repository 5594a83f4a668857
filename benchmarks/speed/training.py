"""Both sides of a training step: ours as `semiseg train` takes it, and the plain one from the same weights."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.speed.plain.loader import Labeled, Norm, Unlabeled, batches
from benchmarks.speed.plain.step import PlainBatch, PlainTraining, same_data
from torch import Tensor

from semiseg.config import Config
from semiseg.data import Batch, iterate
from semiseg.engine.guard import Guard
from semiseg.engine.meter import Meter
from semiseg.engine.state import first_state
from semiseg.engine.task import Task
from semiseg.engine.training import train_step, wrap

IN_MEMORY = 4
"""Batches that are read beforehand where loading does not count; one after the other, again and again."""


class Noted(Meter):
    """A meter that also keeps the loss of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Tensor] = []

    def add(self, logs: dict[str, Tensor], bad: Tensor | None = None) -> None:  # type: ignore[override]
        """Add the values of one step."""
        self.losses.append(logs["loss"].detach())
        super().add(logs, bad)


def in_memory(task: Task) -> list[Batch]:
    """Read a few batches of a task."""
    return [task.stream[step] for step in range(IN_MEMORY)]


def _in_memory(tensor: Tensor, *, pin: bool) -> Tensor:
    return tensor.cpu().pin_memory() if pin else tensor.cpu()


class Ours:
    """Our training of a task."""

    def __init__(self, task: Task) -> None:
        self.task, self.state = task, first_state(task)
        self.wrapped = wrap(self.state.student, task.processes)
        self.guard = Guard(self.state.student, self.state.optimizer, task.method, task.processes)
        self.device = task.processes.device
        self.noted = self.state.meter = Noted()

    @property
    def losses(self) -> list[Tensor]:
        """The loss of each step so far."""
        return self.noted.losses

    def loaded(self) -> Iterator[Batch]:
        """Yield batches as a training reads them."""
        return iterate(self.task.stream, start=0, workers=self.task.workers, pin=self.device.type == "cuda")

    def step(self, batches: Iterator[Batch]) -> None:
        """Take a step, as the training loop does."""
        train_step(self.task, self.state, self.wrapped, self.guard, batches)


class Plain:
    """The plain training of a task, from the weights that its student has now."""

    def __init__(self, task: Task, config: Config) -> None:
        self.task, self.config = task, config
        self.training = PlainTraining(task.student, config, task.stream.steps)

    def rendered(self, ours: list[Batch]) -> list[PlainBatch]:
        """Return batches of ours as a published loader would have made them."""
        device = self.task.processes.device
        rendered = (same_data(batch.to(device), self.task.student) for batch in ours)
        return [batch.map(lambda tensor: _in_memory(tensor, pin=device.type == "cuda")) for batch in rendered]

    def loaded(self) -> Iterator[PlainBatch]:
        """Yield batches as a published loader reads them."""
        data, samples = self.config.data, self.task.stream.dataset
        norm = Norm(self.task.student.mean.cpu(), self.task.student.std.cpu())
        labeled = Labeled(samples.labeled, data.crop, data.scale, norm)
        unlabeled = Unlabeled(samples.unlabeled, data.crop, data.scale, norm)
        pin = self.task.processes.device.type == "cuda"
        return batches(labeled, unlabeled, (self.config.schedule.batch,) * 2, self.task.workers, pin=pin)

    def step(self, batches: Iterator[PlainBatch]) -> dict[str, float]:
        """Take a step."""
        return self.training.step(next(batches))
