"""What changes during a run, and how it is saved and restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from semiseg.engine.checkpoint import (
    Checkpoint,
    drop_later,
    load_checkpoint,
    optimizer_tensors,
    require_shapes,
    restore_optimizer,
)
from semiseg.engine.meter import Meter
from semiseg.engine.saving import CheckpointWriter
from semiseg.engine.task import Task
from semiseg.engine.verdicts import Verdicts
from semiseg.errors import RunError
from semiseg.methods import make_teacher
from semiseg.models import Segmenter, compile_parts


@dataclass
class RunState:
    """What changes during a run: a checkpoint holds all of it, but the verdicts, which have a file of their own."""

    student: Segmenter
    teacher: Segmenter
    optimizer: torch.optim.Optimizer
    verdicts: Verdicts
    step: int = 0
    meter: Meter = field(default_factory=Meter)
    classes: Meter = field(default_factory=Meter)
    conflict: Meter = field(default_factory=Meter)


def first_state(task: Task) -> RunState:
    """Return the state before the first step; without an average the student is its own teacher."""
    teacher = make_teacher(task.student) if task.method.ema_teacher else task.student
    if task.schedule.compile:
        for model in {id(model): model for model in (task.student, teacher)}.values():
            compile_parts(model)
    task.student.train()
    return RunState(task.student, teacher, task.optimizer, Verdicts(task.directory.verdicts))


def save_state(task: Task, state: RunState, writer: CheckpointWriter) -> None:
    """Have a checkpoint written; the main process does, the others give their part of what was logged.

    Raises:
        FileError: the one before could not be written; earlier checkpoints stay.
    """
    sums = state.meter.tensors(task.processes)
    parts: dict[str, dict[str, Tensor]] = {
        "student": state.student.state_dict(),
        "optimizer": optimizer_tensors(state.optimizer),
        "meter": sums,
        "classes": state.classes.tensors(task.processes),
        "conflict": state.conflict.tensors(task.processes),
        "method": task.method.state(),
    }
    if state.teacher is not state.student:
        parts["teacher"] = state.teacher.state_dict()
    tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    steps = {
        "meter_steps": state.meter.steps,
        "classes_steps": state.classes.steps,
        "conflict_steps": state.conflict.steps,
    }
    checkpoint = Checkpoint(state.step, tensors, steps)
    task.processes.by_main(lambda: writer.save(checkpoint))


def restore_state(task: Task, state: RunState, say: Callable[[str], None]) -> None:
    """Continue from the newest whole checkpoint, or from the first step if there is none yet.

    Raises:
        RunError: there are checkpoints, but all are damaged, or the newest is of another network or run.
    """
    checkpoint = load_checkpoint(task.directory.checkpoints, say)
    if checkpoint is None:
        say("no checkpoint yet: starting from the first step")
        return
    models = {"student": state.student} | ({} if state.teacher is state.student else {"teacher": state.teacher})
    wanted = {name: model.state_dict() for name, model in models.items()}
    require_shapes(checkpoint, wanted, task.directory.checkpoints)
    for name, model in models.items():
        model.load_state_dict(checkpoint.part(name))
    try:
        restore_optimizer(state.optimizer, checkpoint.part("optimizer"))
        task.method.restore(checkpoint.part("method"))
        state.meter.restore(checkpoint.state["meter_steps"], checkpoint.part("meter"), task.processes)
        # Checkpoints of earlier versions know nothing of classes and of conflicts.
        for name, meter in (("classes", state.classes), ("conflict", state.conflict)):
            meter.restore(checkpoint.state.get(f"{name}_steps", 0), checkpoint.part(name), task.processes)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunError(
            f"the checkpoint of step {checkpoint.step} is not of this run ({type(error).__name__}: {error})",
            where=task.directory.checkpoints,
            remedy="restore the folder from a copy, or start anew with --run.name NAME",
        ) from error
    state.step = checkpoint.step
    state.verdicts = Verdicts.read(task.directory.verdicts, state.step, say)
    say(f"resumed after step {state.step}")
    task.processes.wait()  # nobody writes while another still reads
    task.processes.by_main(lambda: drop_later(task.directory.checkpoints, checkpoint.step))
