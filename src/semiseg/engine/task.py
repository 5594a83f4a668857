"""What a training is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from semiseg.data import Quarantine, TrainStream
from semiseg.engine.config import EvaluationConfig, ScheduleConfig
from semiseg.engine.distributed import Processes
from semiseg.engine.evaluation import Evaluator
from semiseg.engine.rundir import RunDirectory
from semiseg.engine.services import Courier
from semiseg.methods import Method
from semiseg.models import ModelCard, Segmenter
from semiseg.published import PublishedCurve


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a training needs.

    Attributes:
        method: what happens in one step.
        student: the model that learns, on the device.
        stream: the batches of the run.
        quarantine: the unlabeled images that turned out to be damaged.
        evaluator: the val samples and how to evaluate.
        card: facts of the model, written with it.
        optimizer: over the student's parameters, at the full rates.
        schedule: lengths.
        evaluation: when to evaluate.
        frozen: steps at the begin in which the encoder stands still.
        workers: loader processes.
        bf16: whether models run in bf16.
        directory: the run.
        processes: this process among the others.
        published: the published run whose figures are shown beside ours, or None.
        introduction: lines to say first.
        couriers: opens the services that get the numbers of the run, given what is told of one that fails.
        report: called by the main process with the run directory after each evaluation and at the end.
    """

    method: Method[Any]
    student: Segmenter
    stream: TrainStream
    quarantine: Quarantine
    evaluator: Evaluator
    card: ModelCard
    optimizer: torch.optim.Optimizer
    schedule: ScheduleConfig
    evaluation: EvaluationConfig
    workers: int
    bf16: bool
    directory: RunDirectory
    processes: Processes
    frozen: int = 0
    published: PublishedCurve | None = None
    introduction: tuple[str, ...] = ()
    couriers: Callable[[Callable[[str], object]], Sequence[Courier]] = lambda say: ()
    report: Callable[[Path], object] = lambda run: None

    @property
    def evaluates_every(self) -> int:
        """Steps between evaluations."""
        return self.evaluation.steps_between(self.stream.steps_per_epoch, self.schedule.steps)

    @property
    def saves_every(self) -> int:
        """Steps between checkpoints."""
        default = self.stream.steps_per_epoch if self.evaluation.every else self.evaluates_every
        return self.schedule.checkpoint_every or default
