"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from semiseg.data import Batch, PixelCounts, iterate
from semiseg.data.spec import SCORE_NAMES, Score
from semiseg.engine.class_watch import ClassWatch
from semiseg.engine.conflict import COSINE, Conflict
from semiseg.engine.distributed import Processes
from semiseg.engine.guard import Guard
from semiseg.engine.judging import evaluate_run, keep_any_model, write_report
from semiseg.engine.precision import autocast, full_fp32
from semiseg.engine.progress import Progress
from semiseg.engine.runlog import RunLog
from semiseg.engine.saving import CheckpointWriter
from semiseg.engine.schedule import encoder_factor, lr_factor, set_lr
from semiseg.engine.state import RunState, first_state, restore_state, save_state
from semiseg.engine.step_numbers import StepNumbers
from semiseg.engine.stopping import StopRequest, stopped
from semiseg.engine.task import Task
from semiseg.engine.uploading import upload
from semiseg.errors import RunStopped
from semiseg.methods import ema_decay, update_teacher
from semiseg.models import Segmenter, as_written


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended: `best` is the best `score` (0 to 1) of the labeling model, None without an evaluation."""

    best: float | None
    best_step: int
    steps: int
    seconds: float
    score: Score = "miou"


def fit(task: Task, *, resume: bool) -> TrainingResult:
    """Train to the end of the schedule, saving and evaluating on the way.

    Args:
        task: what to train.
        resume: continue from the newest whole checkpoint of the run directory.

    Raises:
        RunError: nothing to resume from, or losses that are not finite any more.
        RunStopped: SIGTERM, SIGUSR1 or Ctrl-C; there is a checkpoint of the last step done.
    """
    began = time.monotonic()
    notes = list(task.introduction)
    state = first_state(task)
    if resume:
        restore_state(task, state, notes.append)
    if state.step < task.frozen:
        state.student.hold_encoder(True)
    wrapped = wrap(state.student, task.processes)
    guard = Guard(state.student, state.optimizer, task.method, task.processes)
    steps, per_epoch = task.stream.steps, task.stream.steps_per_epoch
    images = task.stream.division.labeled + task.stream.division.unlabeled
    score = SCORE_NAMES[task.evaluator.spec.score]
    progress = Progress(steps=steps, per_epoch=per_epoch, images=images, done=state.step, score=score)

    with (
        StopRequest() as stop,
        RunLog(
            task.directory,
            active=task.processes.is_main,
            resumed_step=state.step if resume else None,
            evaluated=not _evaluation_is_due(task, state),
        ) as log,
        CheckpointWriter(task.directory.checkpoints, log.say) as writer,
    ):
        for note in notes:
            log.say(note)
        if task.processes.is_main:
            log.send_to(task.couriers(log.say))
        if task.published:
            log.published(task.published, task.evaluator.spec.score, per_epoch)
        if _evaluation_is_due(task, state):
            with _as_written(task):
                evaluate_run(task, state, log, progress, stop)
            _leave_if_asked(task, state, stop)
        watch, numbers = ClassWatch(task, log), StepNumbers(task, guard, log, progress)
        batches = iterate(task.stream, start=state.step, workers=task.workers, pin=_pins(task), warn=log.say)
        while state.step < steps:
            if task.frozen and state.step == task.frozen:
                state.student.hold_encoder(False)
                wrapped = wrap(state.student, task.processes)  # whose gradients are to be added up
            train_step(task, state, wrapped, guard, batches)
            numbers.write()  # of the step before, which the device has done by now
            asked = task.processes.largest(stop.number)  # a signal may have reached one process only
            if state.step == steps or state.step % task.schedule.log_every == 0:
                numbers.take(state)
                task.quarantine.agree(log.say)
                watch.look(state.step, state.classes)
                task.processes.by_main(writer.check)
            due = _evaluation_is_due(task, state)
            if asked or due or state.step % task.saves_every == 0:
                numbers.write()
                _save(task, state, guard, writer)
            if asked or due:  # an evaluation may end the process: the disk has the checkpoint before it begins
                task.processes.by_main(writer.wait)
            if asked:
                raise _stopped(task, state, asked)
            if due:
                with progress.paused(), _as_written(task):
                    evaluate_run(task, state, log, progress, stop)
                _leave_if_asked(task, state, stop)
        keep_any_model(task, state)
        write_report(task, log)
    verdicts, seconds = state.verdicts, time.monotonic() - began
    return TrainingResult(verdicts.best, verdicts.best_step, state.step, seconds, task.evaluator.spec.score)


def _as_written(task: Task) -> AbstractContextManager[None]:
    return as_written() if task.schedule.compile else nullcontext()


def _pins(task: Task) -> bool:
    return task.processes.device.type == "cuda"


def wrap(student: Segmenter, processes: Processes) -> nn.Module:
    """Return the student as what runs its passes: itself, or what adds up the gradients of all processes."""
    if processes.count == 1:
        return student
    return DistributedDataParallel(student, broadcast_buffers=False, gradient_as_bucket_view=True)


def train_step(task: Task, state: RunState, wrapped: nn.Module, guard: Guard, batches: Iterator[Batch]) -> None:
    """Take one step of the optimizer, and what goes with it.

    Args:
        task: what is trained.
        state: what changes.
        wrapped: the student as `wrap` returns it.
        guard: of the run.
        batches: the run's, at the step to take.
    """
    set_lr(state.optimizer, lr_factor(state.step, task.stream.steps), encoder_factor(state.step, task.frozen))
    chunks = _next_chunks(task, batches)
    guard.remember()
    labeler = state.student if task.method.student_labels else state.teacher
    every = task.schedule.conflict_every
    conflict = Conflict(state.student, task.processes) if every and state.step % every == 0 else None
    logs, classes = _backward(task, wrapped, labeler, chunks, conflict)
    task.method.remember(classes)
    cosine = conflict.cosine() if conflict else None
    bad = guard.judge(logs["loss"], tuple(sample for chunk in chunks for sample in chunk.ids))
    guard.step(bad)
    if task.method.ema_teacher:
        update_teacher(state.teacher, state.student, ema_decay(state.step, task.schedule.ema_decay))
    state.meter.add(logs, bad)
    if classes:  # none of a step that learns from labels alone
        state.classes.add(classes, bad)
    if cosine is not None:  # the same in all processes
        state.conflict.add({COSINE: cosine / task.processes.count}, bad)
    state.step += 1


def _evaluation_is_due(task: Task, state: RunState) -> bool:
    """Whether the step just done is one to evaluate after, and that has not been done."""
    at = state.step == task.stream.steps or state.step % task.evaluates_every == 0
    return bool(state.step) and at and state.step not in state.verdicts.found


def _leave_if_asked(task: Task, state: RunState, stop: StopRequest) -> None:
    """Stop after an evaluation during which a signal came; the checkpoint was written before it."""
    asked = task.processes.largest(stop.number)
    if asked:
        raise _stopped(task, state, asked)


def _stopped(task: Task, state: RunState, number: int) -> RunStopped:
    return stopped(number, f"{state.step} of {task.stream.steps} steps are done and saved in {task.directory.path}")


def _next_chunks(task: Task, batches: Iterator[Batch]) -> list[Batch]:
    """Fetch the chunks of one step and divide their losses by the pixel counts of the whole global batch."""
    chunks = [upload(next(batches), task.processes.device) for _ in range(task.stream.division.accumulate)]
    for chunk in chunks:
        task.quarantine.take(chunk.damaged)
    counts = task.processes.sum(torch.stack([chunk.pixels.stacked() for chunk in chunks]).sum(0))
    return [replace(chunk, pixels=PixelCounts.unstacked(counts)) for chunk in chunks]


@full_fp32()
def _backward(
    task: Task, student: nn.Module, teacher: Segmenter, chunks: Sequence[Batch], conflict: Conflict | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Add up the gradients of a step's chunks; return what this process logs of the step, in all and by class."""
    logs: dict[str, Tensor] = {}
    classes: dict[str, Tensor] = {}
    for index, chunk in enumerate(chunks):
        last = index == len(chunks) - 1
        with nullcontext() if last or not isinstance(student, DistributedDataParallel) else student.no_sync():
            with autocast(task.bf16, task.processes.device):
                result = task.method.step(student, teacher, chunk)
            if conflict is not None:
                conflict.take(result)
            # DistributedDataParallel takes the mean over processes; the shares of the loss are to be added.
            (result.loss * task.processes.count).backward()
        _add(logs, {"loss": result.loss.detach(), **result.logs})
        _add(classes, result.classes)
    return logs, classes


def _add(sums: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value


def _save(task: Task, state: RunState, guard: Guard, writer: CheckpointWriter) -> None:
    """Save, unless the last step was skipped: weights that no longer learn may not replace a good checkpoint."""
    if not guard.in_a_row.item():
        save_state(task, state, writer)
