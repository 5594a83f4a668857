"""An evaluation in the middle of a run: nothing that goes wrong in it costs anybody the training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from semiseg.engine.evaluation import Evaluation
from semiseg.engine.gallery import draw_chosen, draw_samples
from semiseg.engine.pictures import save_picture
from semiseg.engine.progress import Progress, Ticker, against_published, decline, trust
from semiseg.engine.quality import Quality
from semiseg.engine.runlog import RunLog
from semiseg.engine.state import RunState
from semiseg.engine.stopping import StopRequest
from semiseg.engine.task import Task
from semiseg.files import write_text
from semiseg.models import Segmenter, save_model

_WORSE = 0.01
"""A last model that is so much worse than the best one is worth a word."""
_EXTREMES = 3
"""How many of the worst and of the best val images are drawn."""


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
    ticker, images = Ticker("val images", log.status), -(-len(task.evaluator.samples) // task.processes.count)

    def tick(done: int) -> None:
        stop.refuse_more()
        ticker(done, images)

    try:
        counts = task.evaluator.quality_counts(task.method.shared.consistency.threshold, task.processes.device)
        found = task.evaluator.evaluate(models, task.processes, tick, counts)
        _keep_verdict(task, state, log, progress, found, counts.result(task.processes))
    except Exception as error:
        if task.processes.device.type == "cuda":
            torch.cuda.empty_cache()
        remedy = "" if stop.number else "; less memory: --evaluation.batch 1"
        log.say(f"no evaluation after step {state.step}, training goes on ({_in_one_line(error)}){remedy}")
    finally:
        state.student.train()


def _keep_verdict(
    task: Task, state: RunState, log: RunLog, progress: Progress, found: dict[str, Evaluation], quality: Quality
) -> None:
    """Write down what was found, last of all that it was: who dies before evaluates again."""
    name = "teacher" if "teacher" in found else "student"
    judged, best = found[name], state.verdicts.best
    log.numbers(state.step, progress.epoch(state.step), _numbers(found) | quality.numbers())
    if best is None and judged.absence:
        log.say(judged.absence)
    if best is None or judged.judged_by >= best:
        best = judged.judged_by
        _keep_model(task, state, judged.scores)
    _attempt(task, log, "pictures", lambda: _draw(task, state, state.teacher))
    _attempt(task, log, "quality of the images", lambda: _keep_quality(task, state, judged, quality))
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


def _draw(task: Task, state: RunState, model: Segmenter) -> None:
    unlabeled = task.stream.dataset.unlabeled if task.method.learns_unlabeled else ()
    sheet = draw_samples(model, task.evaluator, unlabeled, task.method.shared.consistency.threshold)
    save_picture(sheet, task.directory.samples / f"step_{state.step:06d}.png")


def _keep_quality(task: Task, state: RunState, judged: Evaluation, quality: Quality) -> None:
    """Write down what the evaluation told beside its score, and draw the worst and the best images."""
    samples = task.evaluator.samples
    content = {
        "step": state.step,
        **quality.as_json(judged.classes, [sample.id for sample in samples]),
        "confusion": judged.confusion_KK.tolist(),
    }
    write_text(task.directory.quality, json.dumps(content) + "\n")
    iou_N = quality.images_N3[:, 1]
    known = [int(place) for place in np.argsort(iou_N, kind="stable") if not np.isnan(iou_N[place])]
    each = min(_EXTREMES, len(known) // 2)
    if each:
        chosen = [
            (
                samples[place],
                f"{word}: mean IoU {iou_N[place]:.1%}, predicted quality {quality.images_N3[place, 0]:.1%}",
            )
            for word, places in (("worst", known[:each]), ("best", known[: -each - 1 : -1]))
            for place in places
        ]
        save_picture(draw_chosen(state.teacher, task.evaluator, chosen), task.directory.extremes)


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
