"""A few real steps and one small evaluation of a training, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from semiseg.data import Batch, iterate
from semiseg.engine.gallery import spread
from semiseg.engine.guard import Guard
from semiseg.engine.judging import evaluate_run
from semiseg.engine.progress import Progress
from semiseg.engine.runlog import RunLog
from semiseg.engine.saving import CheckpointWriter
from semiseg.engine.state import RunState, first_state, save_state
from semiseg.engine.stopping import StopRequest
from semiseg.engine.task import Task
from semiseg.engine.training import train_step, wrap

STEP_SECONDS = 12.0
"""How long steps are measured."""
_WARM_UP, _LEAST, _MOST = 2, 2, 200
"""Steps that are not counted, and the fewest and the most that are."""
_IMAGES = 4
"""Val images that are evaluated, or a batch of the evaluation if that is more."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a few steps and an evaluation took; times in seconds, memory and disk in bytes."""

    steps: int
    """Steps that were measured."""
    step: float
    """Wall time of a step."""
    step_cpu: float
    """Time of the CPU in a step: of all threads of the main process, not of the loader processes."""
    waiting: float
    """Share of a step in which the loop waits for images, 0 to 1."""
    start: float
    """What the first steps take longer than others: starting the loader processes, compiling kernels."""
    images: int
    """Val images that were evaluated."""
    image: float
    """Wall time of evaluating an image by all models of the run."""
    evaluation: float
    """Wall time of what an evaluation does besides: the model's file, pictures, the report."""
    saving: float
    """Wall time of a checkpoint."""
    memory: int
    """The most that the process held: on a GPU of the GPU's memory, else of main memory."""
    checkpoint: int
    """A checkpoint on the disk."""
    picture: int
    """The pictures of an evaluation, on the disk."""
    rest: int
    """What else the run writes."""


def probe(task: Task, seconds: float = STEP_SECONDS) -> Probe:
    """Train a few steps and evaluate on a few images, in the task's own run directory.

    Args:
        task: as a training takes it; its directory should be one to throw away.
        seconds: how long to take steps, at least `_LEAST` of them.

    Raises:
        SemisegError: what the training would end with.
        torch.OutOfMemoryError: the batch does not fit on the GPU.
    """
    if task.processes.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(task.processes.device)
    state, waits = first_state(task), _Waits()
    guard = Guard(state.student, state.optimizer, task.method, task.processes)
    wrapped = wrap(state.student, task.processes)
    pin = task.processes.device.type == "cuda"
    batches = waits.through(iterate(task.stream, start=0, workers=task.workers, pin=pin, warn=lambda text: None))

    def step() -> None:
        train_step(task, state, wrapped, guard, batches)

    began = time.perf_counter()
    for _ in range(min(_WARM_UP, task.stream.steps - 1)):
        step()
    _settle(task)
    warm, waits.seconds = time.perf_counter(), 0.0
    cpu, first = time.process_time(), state.step
    most = min(task.stream.steps, first + _MOST)
    # A short recipe may have fewer steps than there is time for.
    while state.step < most and (state.step - first < _LEAST or time.perf_counter() - warm < seconds):
        step()
    _settle(task)
    ended, count = time.perf_counter(), max(1, state.step - first)
    taken, cpu = (ended - warm) / count, (time.process_time() - cpu) / count
    batches.close()  # ends the loader processes
    saving = _timed(lambda: _save(task, state))
    images, image, evaluation = _evaluate(task, state)
    return Probe(
        steps=count,
        step=taken,
        step_cpu=cpu,
        waiting=min(1.0, waits.seconds / (ended - warm)),
        start=max(0.0, warm - began - first * taken),
        images=images,
        image=image,
        evaluation=evaluation,
        saving=saving,
        memory=_peak(task),
        checkpoint=_size(task.directory.checkpoints),
        picture=_size(task.directory.samples),
        rest=_size(task.directory.path) - _size(task.directory.checkpoints) - _size(task.directory.samples),
    )


class _Waits:
    """Adds up how long one waits for the next batch."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def through(self, batches: Iterator[Batch]) -> Generator[Batch]:
        """Yield the batches."""
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def _save(task: Task, state: RunState) -> None:
    """Save, and wait until the disk has it, as a training does before it evaluates."""
    with CheckpointWriter(task.directory.checkpoints, lambda text: None) as writer:
        save_state(task, state, writer)


def _evaluate(task: Task, state: RunState) -> tuple[int, float, float]:
    """Return how many val images were evaluated, the time of each, and the time of all that an evaluation does else."""
    on_gpu = task.processes.device.type == "cuda"  # where a batch takes the memory that it will take
    samples = spread(task.evaluator.samples, max(_IMAGES, task.evaluator.batch if on_gpu else 0))
    few = replace(task, evaluator=replace(task.evaluator, samples=samples))
    image = 0.0
    if samples:
        models = [state.student] + ([] if state.teacher is state.student else [state.teacher])
        state.student.eval()
        named = {str(place): model for place, model in enumerate(models)}
        few.evaluator.evaluate(named, task.processes)  # the first pass in this mode is slower than those that follow
        image = _timed(lambda: few.evaluator.evaluate(named, task.processes)) / len(samples)
        state.student.train()
    progress = Progress(steps=task.stream.steps, per_epoch=task.stream.steps_per_epoch, images=1, done=0)
    with StopRequest() as stop, RunLog(task.directory, active=True, shown=False) as log:
        whole = _timed(lambda: evaluate_run(few, state, log, progress, stop))
    return len(samples), image, max(0.0, whole - image * len(samples))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _settle(task: Task) -> None:
    """Wait for what the GPU has still to do."""
    if task.processes.device.type == "cuda":
        torch.cuda.synchronize(task.processes.device)


def _peak(task: Task) -> int:
    if task.processes.device.type == "cuda":
        return torch.cuda.max_memory_reserved(task.processes.device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
