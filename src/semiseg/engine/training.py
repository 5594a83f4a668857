"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from semiseg.data import Batch, PixelCounts, TrainStream, iterate
from semiseg.data.spec import SCORE_NAMES, Score
from semiseg.engine.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    require_shapes,
    restore_optimizer,
    save_checkpoint,
)
from semiseg.engine.distributed import Processes
from semiseg.engine.evaluation import Evaluation, EvaluationConfig, Evaluator
from semiseg.engine.gallery import draw_samples
from semiseg.engine.meter import Meter
from semiseg.engine.pictures import save_picture
from semiseg.engine.precision import autocast, full_fp32
from semiseg.engine.progress import Progress, against_published
from semiseg.engine.rundir import RunDirectory
from semiseg.engine.runlog import RunLog
from semiseg.engine.schedule import ScheduleConfig, lr_factor, set_lr
from semiseg.errors import RunError
from semiseg.methods import Method, ema_decay, make_teacher, update_teacher
from semiseg.models import ModelCard, Segmenter, save_model
from semiseg.published import PublishedCurve


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a training needs.

    Attributes:
        method: what happens in one step.
        student: the model that learns, on the device.
        stream: the batches of the run.
        evaluator: the val samples and how to evaluate.
        card: facts of the model, written with it.
        optimizer: over the student's parameters, at the full rates.
        schedule: lengths.
        evaluation: when to evaluate.
        workers: loader processes.
        bf16: whether models run in bf16.
        directory: the run.
        processes: this process among the others.
        published: the published run whose figures are shown beside ours, or None.
        introduction: lines to say first.
        report: called by the main process with the run directory after each evaluation and at the end.
    """

    method: Method[Any]
    student: Segmenter
    stream: TrainStream
    evaluator: Evaluator
    card: ModelCard
    optimizer: torch.optim.Optimizer
    schedule: ScheduleConfig
    evaluation: EvaluationConfig
    workers: int
    bf16: bool
    directory: RunDirectory
    processes: Processes
    published: PublishedCurve | None = None
    introduction: tuple[str, ...] = ()
    report: Callable[[Path], object] = lambda run: None


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended: `best` is the best `score` (0 to 1) of the labeling model, None without val images."""

    best: float | None
    best_step: int
    steps: int
    seconds: float
    score: Score = "miou"


@dataclass
class _State:
    """What changes during a run, and all that a checkpoint holds."""

    student: Segmenter
    teacher: Segmenter
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float | None = None
    best_step: int = 0
    meter: Meter = field(default_factory=Meter)


def fit(task: Task, *, resume: bool) -> TrainingResult:
    """Train to the end of the schedule, evaluating and saving on the way.

    Args:
        task: what to train.
        resume: continue from the newest whole checkpoint of the run directory.

    Raises:
        RunError: nothing to resume from, or the loss is no longer finite.
    """
    began = time.monotonic()
    notes = list(task.introduction)
    state = _begin(task)
    if resume:
        _restore(task, state, notes.append)
    wrapped = _wrap(state.student, task.processes)
    steps, per_epoch = task.stream.steps, task.stream.steps_per_epoch
    batches = iterate(task.stream, start=state.step, workers=task.workers, pin=task.processes.device.type == "cuda")
    images = task.stream.division.labeled + task.stream.division.unlabeled
    score = SCORE_NAMES[task.evaluator.spec.score]
    progress = Progress(steps=steps, per_epoch=per_epoch, images=images, done=state.step, score=score)

    with RunLog(task.directory, active=task.processes.is_main, resumed_step=state.step if resume else None) as log:
        for note in notes:
            log.say(note)
        if task.published:
            log.published(task.published, task.evaluator.spec.score, per_epoch)
        while state.step < steps:
            set_lr(state.optimizer, lr_factor(state.step, steps))
            labeler = state.student if task.method.student_labels else state.teacher
            state.meter.add(_backward(task, wrapped, labeler, _next_chunks(task, batches)))
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            if task.method.ema_teacher:
                update_teacher(state.teacher, state.student, ema_decay(state.step, task.schedule.ema_decay))
            state.step += 1

            last = state.step == steps
            if last or state.step % task.schedule.log_every == 0:
                _log_training(task, state, log, progress)
            if last or state.step % (per_epoch * task.evaluation.every) == 0:
                with progress.paused():
                    _evaluate(task, state, log, progress)
                    _report(task, log)
            if last or state.step % (task.schedule.checkpoint_every or per_epoch) == 0:
                _save(task, state)
        _report(task, log)
    seconds = time.monotonic() - began
    return TrainingResult(state.best, state.best_step, state.step, seconds, task.evaluator.spec.score)


def _begin(task: Task) -> _State:
    teacher = make_teacher(task.student) if task.method.ema_teacher else task.student
    task.student.train()
    return _State(task.student, teacher, task.optimizer)


def _wrap(student: Segmenter, processes: Processes) -> nn.Module:
    if processes.count == 1:
        return student
    return DistributedDataParallel(student, broadcast_buffers=False, gradient_as_bucket_view=True)


def _next_chunks(task: Task, batches: Iterator[Batch]) -> list[Batch]:
    """Fetch the chunks of one step and divide their losses by the pixel counts of the whole global batch."""
    chunks = [next(batches).to(task.processes.device) for _ in range(task.stream.division.accumulate)]
    counts = task.processes.sum(torch.stack([chunk.pixels.stacked() for chunk in chunks]).sum(0))
    return [replace(chunk, pixels=PixelCounts.unstacked(counts)) for chunk in chunks]


@full_fp32()
def _backward(task: Task, student: nn.Module, teacher: Segmenter, chunks: Sequence[Batch]) -> dict[str, Tensor]:
    """Add up the gradients of a step's chunks; return the step's logged scalars, of this process."""
    logs: dict[str, Tensor] = {}
    for index, chunk in enumerate(chunks):
        last = index == len(chunks) - 1
        with nullcontext() if last or not isinstance(student, DistributedDataParallel) else student.no_sync():
            with autocast(task.bf16, task.processes.device):
                result = task.method.step(student, teacher, chunk)
            # DistributedDataParallel takes the mean over processes; the shares of the loss are to be added.
            (result.loss * task.processes.count).backward()
        for name, value in {"loss": result.loss.detach(), **result.logs}.items():
            logs[name] = logs[name] + value if name in logs else value
    return logs


def _log_training(task: Task, state: _State, log: RunLog, progress: Progress) -> None:
    values = state.meter.read(task.processes)
    _refuse_not_finite(task, state, values["loss"])
    values |= {"lr": state.optimizer.param_groups[0]["lr"], **progress.pace(state.step)}
    log.numbers(state.step, progress.epoch(state.step), {f"train/{name}": value for name, value in values.items()})
    log.status(progress.line(state.step, values, state.best))


def _refuse_not_finite(task: Task, state: _State, loss: float) -> None:
    if not math.isfinite(loss):
        raise RunError(
            f"the loss is {loss} at step {state.step}",
            where=task.directory.path,
            remedy="lower --optimizer.lr, or try --precision fp32; checkpoints up to now are kept",
        )


def _evaluate(task: Task, state: _State, log: RunLog, progress: Progress) -> None:
    """Evaluate student and teacher, keep the better labeling model, draw pictures."""
    if not task.evaluator.samples:
        _keep_model(task, state, {})
        return
    models = {"student": state.student}
    if state.teacher is not state.student:
        models["teacher"] = state.teacher
    state.student.eval()
    found = task.evaluator.evaluate(models, task.processes)
    judged = "teacher" if "teacher" in found else "student"
    log.numbers(state.step, progress.epoch(state.step), _numbers(found))
    if state.best is None and found[judged].absence:
        log.say(found[judged].absence)
    if state.best is None or found[judged].judged_by >= state.best:
        state.best, state.best_step = found[judged].judged_by, state.step
        _keep_model(task, state, found[judged].scores)
    if task.processes.is_main:
        unlabeled = task.stream.dataset.unlabeled if task.method.views else ()
        sheet = draw_samples(models[judged], task.evaluator, unlabeled, task.method.shared.consistency.threshold)
        save_picture(sheet, task.directory.samples / f"step_{state.step:06d}.png")
    figures = {name: result.judged_by for name, result in found.items()}
    log.say(progress.verdict(state.step, figures, state.best))
    if task.published:
        log.say(against_published(task.published, progress.epoch(state.step), figures))
    state.student.train()


def _report(task: Task, log: RunLog) -> None:
    """Let the main process report; whatever goes wrong there is said, and costs nobody a training."""
    if not task.processes.is_main:
        return
    try:
        task.report(task.directory.path)
    except Exception as error:
        log.say(f"no report, training goes on ({type(error).__name__}: {' '.join(str(error).split())})")


def _numbers(found: dict[str, Evaluation]) -> dict[str, float]:
    numbers = {f"{name}/{score}": value for name, result in found.items() for score, value in result.scores.items()}
    for name, result in found.items():
        numbers |= {f"{name}/iou/{label}": float(iou) for label, iou in zip(result.classes, result.iou_K, strict=True)}
    return numbers


def _keep_model(task: Task, state: _State, metrics: dict[str, float]) -> None:
    """Write the labeling model as the run's model."""
    if task.processes.is_main:
        metrics = {**metrics, "step": float(state.step)}
        save_model(task.directory.model, state.teacher, replace(task.card, metrics=metrics))


def _save(task: Task, state: _State) -> None:
    sums = state.meter.tensors(task.processes)
    if "loss" in sums:  # also between two log lines no checkpoint may replace a good one by a broken one
        _refuse_not_finite(task, state, sums["loss"].item())
    if not task.processes.is_main:
        return
    parts: dict[str, dict[str, Tensor]] = {
        "student": state.student.state_dict(),
        "optimizer": optimizer_tensors(state.optimizer),
        "meter": sums,
        "method": task.method.state(),
    }
    if state.teacher is not state.student:
        parts["teacher"] = state.teacher.state_dict()
    tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    facts: dict[str, Any] = {"best": state.best, "best_step": state.best_step, "meter_steps": state.meter.steps}
    save_checkpoint(task.directory.checkpoints, Checkpoint(state.step, tensors, facts))


def _restore(task: Task, state: _State, say: Callable[[str], None]) -> None:
    checkpoint = load_checkpoint(task.directory.checkpoints, say)
    if checkpoint is None:
        say("no checkpoint yet: starting from the first step")
        return
    models = {"student": state.student}
    if state.teacher is not state.student:
        models["teacher"] = state.teacher
    wanted = {name: model.state_dict() for name, model in models.items()}
    require_shapes(checkpoint, wanted, task.directory.checkpoints)
    for name, model in models.items():
        model.load_state_dict(checkpoint.part(name))
    restore_optimizer(state.optimizer, checkpoint.part("optimizer"))
    task.method.restore(checkpoint.part("method"))
    facts = checkpoint.state
    state.step, state.best, state.best_step = checkpoint.step, facts["best"], facts["best_step"]
    state.meter.restore(facts["meter_steps"], checkpoint.part("meter"), task.processes)
    say(f"resumed after step {state.step}")
