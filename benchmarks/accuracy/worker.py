"""One training in a process of its own, on one core with one thread: train, judge, write the result.

    python -m benchmarks.accuracy.worker JOB.json

What it takes is measured in the training loop: the processor's and the wall's seconds from the begin of a step to
that of the next, evaluations left out. The processor's are the better measure where other work shares the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from semiseg import api
from semiseg.config import FREE_ON_RESUME, Config, make_config, to_dict
from semiseg.data import DataConfig, load_dataset
from semiseg.data.yaml_file import read_yaml
from semiseg.engine import training
from semiseg.engine.checkpoint import load_checkpoint
from semiseg.engine.rundir import environment, flatten
from semiseg.errors import RunError, RunStopped, SemisegError
from semiseg.files import write_text
from semiseg.models import load_model, save_model
from semiseg.reporting.record import RunRecord, read_run
from semiseg.teaching import write_labels

WARM_UP = 2
"""Steps that are not timed: the first ones choose kernels and fill caches."""


@dataclass
class Stopwatch:
    """Seconds of the steps of a training in this process."""

    steps: int = 0
    labels: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    """Seconds that teachers took to label, of the processor and of the wall."""
    seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    """Of the processor, and of the wall."""
    _began: list[NDArray[np.float64]] = field(default_factory=list)
    _paused: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    @contextmanager
    def running(self, *, evaluate: bool) -> Iterator[None]:
        """Time the steps of trainings in the block, and leave their evaluations out, from the time or altogether."""
        evaluate_run, set_lr = training.evaluate_run, training.set_lr

        def paused(*args: Any) -> None:
            before = _now()
            if evaluate:
                evaluate_run(*args)
            self._paused += _now() - before

        def began(*args: Any) -> None:
            self._note()
            set_lr(*args)

        with patch.object(training, "evaluate_run", paused), patch.object(training, "set_lr", began):
            yield

    def _note(self) -> None:
        self._began.append(_now() - self._paused)
        if len(self._began) > WARM_UP + 1:
            self.steps += 1
            self.seconds += self._began[-1] - self._began[-2]


def _now() -> NDArray[np.float64]:
    return np.array([time.process_time(), time.monotonic()])


def main() -> int:
    """Do the job; return the exit code."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if hasattr(os, "sched_setaffinity") and job["core"] is not None:
        os.sched_setaffinity(0, {job["core"]})
    torch.set_num_threads(1)
    try:
        result = _timed(job["calibrate"]) if "calibrate" in job else _trained(job)
        write_text(Path(job["result"]), json.dumps(result, indent=1) + "\n")
    except RunStopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except SemisegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _timed(rounds: list[list[dict[str, Any]]]) -> list[list[dict[str, float]]]:
    """Train with each configuration of each round, without an evaluation; return the seconds of a step."""
    return [[_seconds_of_a_step(make_config(config, where="the job")) for config in each] for each in rounds]


def _seconds_of_a_step(config: Config) -> dict[str, float]:
    watch, run = Stopwatch(), _place(config)
    shutil.rmtree(run, ignore_errors=True)
    with watch.running(evaluate=False):
        api.train(config)
    shutil.rmtree(run)
    cpu, wall = map(float, watch.seconds / watch.steps)
    return {"cpu": cpu, "wall": wall, "steps": watch.steps}


def _place(config: Config) -> Path:
    return Path(config.run.folder) / str(config.run.name)


def _trained(job: dict[str, Any]) -> dict[str, Any]:
    """Train, or go on, and judge; return the result."""
    config, watch = make_config(job["config"], where="the job"), Stopwatch()
    run, taught = _place(config), taught_by(config, job.get("teachers", ()))
    spent = run.with_suffix(".seconds.json")
    forget_another(run, spent, taught)
    with _accounted(spent, watch), watch.running(evaluate=True):
        if job.get("teachers"):
            _label(config, job, Path(str(taught.data.teacher)), watch)
        api.train(taught, resume="auto")
    result = {**job["facts"], "config": job["config"], **judged(read_run(run))}
    result["test"] = _on_test(run, config, Path(job["test"])) if job["test"] else None
    result |= {"seconds": _seconds(spent, config.schedule.steps or 0, job.get("spent", ())), "machine": _machine()}
    shutil.rmtree(run / "checkpoints")
    return result


def taught_by(config: Config, teachers: Sequence[str]) -> Config:
    """Return the configuration that learns from what teachers say, if there are any, in labels beside the run."""
    labels = str(_place(config).with_suffix(".labels"))
    return replace(config, data=replace(config.data, teacher=labels)) if teachers else config


def _label(config: Config, job: dict[str, Any], folder: Path, watch: Stopwatch) -> None:
    """Let the job's teachers label the unlabeled images; what is labeled stays."""
    began = _now()
    teachers = [Path(teacher) for teacher in job["teachers"]]
    write_labels(teachers, load_dataset(config.data).unlabeled, folder, config, **job["labels"])
    watch.labels += _now() - began


def forget_another(run: Path, spent: Path, config: Config) -> None:
    """Remove what a cut-off run of other settings has left in this run's place."""
    file = run / "config.yaml"
    if not file.is_file():
        return
    before, now = flatten(read_yaml(file, RunError, typed=True)), flatten(to_dict(config))
    if any(before.get(key) != now.get(key) for key in before | now if key not in FREE_ON_RESUME):
        shutil.rmtree(run)
        spent.unlink(missing_ok=True)


@contextmanager
def _accounted(spent: Path, watch: Stopwatch) -> Iterator[None]:
    """Add what the block takes to the account of a run, that may be cut off and go on in another process."""
    began = _now()
    try:
        yield
    finally:
        keys = ("cpu", "wall", "step_cpu", "step_wall", "steps", "labels_cpu", "labels_wall")
        values = (*(_now() - began), *watch.seconds, watch.steps, *watch.labels)
        start = dict(zip(keys, map(float, values), strict=True))
        write_text(spent, json.dumps([*_starts(spent), start]))


def _starts(spent: Path) -> list[dict[str, float]]:
    return json.loads(spent.read_text(encoding="utf-8")) if spent.is_file() else []


def _seconds(spent: Path, steps: int, teachers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum the account up: of all, evaluations and pictures included, and of what training takes.

    That is the steps alone; where teachers label, also their labeling, and what they took to be trained.
    """
    starts = _starts(spent)
    total = {key: sum(start[key] for start in starts) for key in starts[0]}
    per_step = {key: total[f"step_{key}"] / max(total["steps"], 1) for key in ("cpu", "wall")}
    return {
        "all_cpu": total["cpu"],
        "all_wall": total["wall"],
        **{f"{key}_per_step": value for key, value in per_step.items()},
        **{
            f"training_{key}": value * steps
            + total[f"labels_{key}"]
            + sum(teacher["seconds"][f"training_{key}"] for teacher in teachers)
            for key, value in per_step.items()
        },
        "starts": len(starts),
    }


def _machine() -> dict[str, Any]:
    facts = environment()
    return {"date": str(facts["started"])[:10], **{key: facts[key] for key in ("cpu", "torch", "threads", "python")}}


def judged(run: RunRecord) -> dict[str, Any]:
    """Return what a run logged of its models: figures of all evaluations, of the last, the best, and by class."""
    models, best = run.models(), run.best()
    curves = {model: {point.step: point.value for point in run.metrics[f"{model}/{run.score}"]} for model in models}
    if best is None or run.steps not in curves[models[0]]:
        raise RunError("the last evaluation failed", where=run.path / "train.log", remedy="see why, and remove the run")
    last = {model: curve[run.steps] for model, curve in curves.items()}
    classes = {
        model: {name: run.metrics[f"{model}/iou/{name}"][-1].value for name in run.classes()} for model in models
    }
    return {
        "score": run.score,
        "judged": models[0],
        "curves": curves,
        "last": last,
        "best": {"step": best.step, **best.figures},
        "classes": classes,
    }


def _on_test(run: Path, config: Config, test: Path) -> dict[str, Any]:
    """Judge the model after the last step on a list of images that had no part in any choice."""
    model, card = load_model(run / "model")
    checkpoint = load_checkpoint(run / "checkpoints", partial(print, file=sys.stderr))
    assert checkpoint is not None, "a run that has ended has saved its last step"
    model.load_state_dict(checkpoint.part("teacher") or checkpoint.part("student"))
    save_model(run / "last", model, card)
    data = DataConfig(root=config.data.root, spec=config.data.spec, val=str(test))
    found = api.evaluate(run / "last", data, device=config.device)
    classes = dict(zip(found.classes, map(float, found.iou_K), strict=True))
    return {"score": found.judged_by, "images": found.images, "trained_on": len(found.trained_on), "classes": classes}


if __name__ == "__main__":
    sys.exit(main())
