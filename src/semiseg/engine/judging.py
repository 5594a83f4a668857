"""An evaluation in the middle of a run: nothing that goes wrong in it costs anybody the training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from semiseg.engine.evaluation import Evaluation
from semiseg.engine.gallery import draw_chosen, draw_samples, places_on_the_sheet
from semiseg.engine.keepsakes import Keepsakes, Seen, highest, lowest
from semiseg.engine.pictures import save_picture
from semiseg.engine.progress import Progress, Ticker, against_published, decline, trust
from semiseg.engine.quality import Quality
from semiseg.engine.runlog import RunLog
from semiseg.engine.state import RunState
from semiseg.engine.stopping import StopRequest
from semiseg.engine.task import Task
from semiseg.files import write_text
from semiseg.models import save_model

_WORSE = 0.01
"""A last model that is so much worse than the best one is worth a word."""
_EXTREMES = 3
"""How many of the worst and of the best val images are drawn."""
_LEVEL = 2
"""How hard PNGs of an evaluation are compressed, 0 to 9: less than half the time of Pillow's 6, a fifth larger."""


def evaluate_run(task: Task, state: RunState, log: RunLog, progress: Progress, stop: StopRequest) -> None:
    """Evaluate student and teacher, keep the better labeling model, draw pictures, report.

    A checkpoint has been written before. What fails (memory, a file that became unreadable, a picture) is said, and the
    training goes on without it.
    """
    if not task.evaluator.samples:
        _keep_model(task, state, {})
    elif state.verdicts.may_begin(state.step):
        _judge(task, state, log, progress, stop)
    else:
        log.say(
            f"the evaluation after step {state.step} ended the process before and is left out; "
            "less memory: --evaluation.batch 1"
        )
    write_report(task, log)


def _judge(task: Task, state: RunState, log: RunLog, progress: Progress, stop: StopRequest) -> None:
    main = task.processes.is_main
    models = {"student": state.student} | ({} if state.teacher is state.student else {"teacher": state.teacher})
    state.verdicts.begin(state.step, write=main)
    state.student.eval()
    try:
        counts = task.evaluator.quality_counts(task.method.shared.consistency.threshold, task.processes.device)
        on_sheet = places_on_the_sheet(task.evaluator)
        sizes = task.processes.agreed(lambda: task.evaluator.sizes)
        keepsakes = Keepsakes(sizes, on_sheet, _EXTREMES)
        found = task.evaluator.evaluate(models, task.processes, _ticking(task, log, stop), counts, keepsakes)
        quality = counts.result(task.processes)
        seen = keepsakes.gathered({*on_sheet, *(place for _, place in _extremes(quality))}, task.processes)
        _keep_verdict(task, state, log, progress, _Found(found, quality, seen))
    except Exception as error:
        if task.processes.device.type == "cuda":
            torch.cuda.empty_cache()
        remedy = "" if stop.number else "; less memory: --evaluation.batch 1"
        log.say(f"no evaluation after step {state.step}, training goes on ({_in_one_line(error)}){remedy}")
    finally:
        state.student.train()


def _ticking(task: Task, log: RunLog, stop: StopRequest) -> Callable[[int], None]:
    """Return what is called after each batch: it says how far this process is, and ends the evaluation on a signal."""
    mine = task.evaluator.batches[task.processes.rank :: task.processes.count]
    ticker, images = Ticker("val images", log.status), sum(map(len, mine))

    def tick(done: int) -> None:
        stop.refuse_more()
        ticker(done, images)

    return tick


@dataclass(frozen=True)
class _Found:
    """What an evaluation found: the models' figures, the judged one's quality, and what it said of some images."""

    evaluations: dict[str, Evaluation]
    quality: Quality
    seen: dict[int, Seen]

    @property
    def name(self) -> str:
        """The judged model."""
        return "teacher" if "teacher" in self.evaluations else "student"

    @property
    def judged(self) -> Evaluation:
        """The judged model's figures."""
        return self.evaluations[self.name]


def _keep_verdict(task: Task, state: RunState, log: RunLog, progress: Progress, result: _Found) -> None:
    """Write down what was found, last of all that it was: who dies before evaluates again."""
    found, quality, name = result.evaluations, result.quality, result.name
    judged, best = result.judged, state.verdicts.best
    log.numbers(state.step, progress.epoch(state.step), _numbers(found) | quality.numbers())
    if best is None and judged.absence:
        log.say(judged.absence)
    if best is None or judged.judged_by >= best:
        best = judged.judged_by
        _keep_model(task, state, judged.scores)
    _attempt(task, log, "pictures", lambda: _draw(task, state, result.seen))
    _attempt(task, log, "quality of the images", lambda: _keep_quality(task, state, result))
    state.verdicts.end(state.step, judged.judged_by, write=task.processes.is_main)
    figures = {name: result.judged_by for name, result in found.items()}
    log.say(progress.verdict(state.step, figures, best))
    log.say(trust(name, quality))
    if state.step == task.stream.steps and best - judged.judged_by > _WORSE:
        log.say(decline(name, best - judged.judged_by, state.verdicts.best_step, progress.score))
    if task.published:
        log.say(against_published(task.published, progress.epoch(state.step), figures))


def _numbers(found: dict[str, Evaluation]) -> dict[str, float]:
    numbers = {f"{name}/{score}": value for name, result in found.items() for score, value in result.scores.items()}
    for name, result in found.items():
        numbers |= {f"{name}/iou/{label}": float(iou) for label, iou in zip(result.classes, result.iou_K, strict=True)}
    return numbers


def _keep_model(task: Task, state: RunState, metrics: dict[str, float]) -> None:
    """Write the labeling model as the run's model."""
    if task.processes.is_main:
        metrics = {**metrics, "step": float(state.step)}
        save_model(task.directory.model, state.teacher, replace(task.card, metrics=metrics))


def _draw(task: Task, state: RunState, seen: dict[int, Seen]) -> None:
    unlabeled = task.stream.dataset.unlabeled if task.method.learns_unlabeled else ()
    sheet = draw_samples(state.teacher, task.evaluator, unlabeled, task.method.shared.consistency.threshold, seen)
    save_picture(sheet, task.directory.samples / f"step_{state.step:06d}.png", compress_level=_LEVEL)


def _keep_quality(task: Task, state: RunState, result: _Found) -> None:
    """Write down what the evaluation told beside its score, and draw the worst and the best images."""
    samples, quality = task.evaluator.samples, result.quality
    content = {
        "step": state.step,
        **quality.as_json(result.judged.classes, [sample.id for sample in samples]),
        "confusion": result.judged.confusion_KK.tolist(),
    }
    write_text(task.directory.quality, json.dumps(content) + "\n")
    chosen = []
    for word, place in _extremes(quality):
        predicted, iou, _ = quality.images_N3[place]
        words = f"{word}: mean IoU {iou:.1%}, predicted quality {predicted:.1%}"
        chosen.append((samples[place], result.seen[place], words))
    if chosen:
        save_picture(draw_chosen(task.evaluator, chosen), task.directory.extremes, compress_level=_LEVEL)


def _extremes(quality: Quality) -> list[tuple[str, int]]:
    """Return the places of the worst and of the best images, and which it is."""
    iou = {place: float(iou) for place, iou in enumerate(quality.images_N3[:, 1]) if not np.isnan(iou)}
    each = min(_EXTREMES, len(iou) // 2)
    return [("worst", place) for place in lowest(iou, each)] + [("best", place) for place in highest(iou, each)]


def keep_any_model(task: Task, state: RunState) -> None:
    """See to it that a finished run has a model, also if no evaluation ever ended."""
    if not state.verdicts.found:
        _keep_model(task, state, {})


def write_report(task: Task, log: RunLog) -> None:
    """Let the main process report."""
    _attempt(task, log, "report", lambda: task.report(task.directory.path))


def _attempt(task: Task, log: RunLog, what: str, work: Callable[[], object]) -> None:
    """Let the main process do what is worth having but not worth a training; what goes wrong is said."""
    if not task.processes.is_main:
        return
    try:
        work()
    except Exception as error:
        log.say(f"no {what}, training goes on ({_in_one_line(error)})")


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
