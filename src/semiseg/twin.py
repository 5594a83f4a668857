"""Train a run and its labeled-only twin beside it, and say who won."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from semiseg.api import TrainedRun, train
from semiseg.assembly import run_name
from semiseg.config import Config
from semiseg.engine.distributed import speaks_for_all
from semiseg.engine.rundir import RunDirectory, refuse_place
from semiseg.errors import ConfigError
from semiseg.files import write_text
from semiseg.methods import find_method
from semiseg.reporting import report
from semiseg.reporting.comparison import compare
from semiseg.reporting.record import read_run

_SUFFIX = "-labeled_only"


@dataclass(frozen=True)
class Twins:
    """A run, its labeled-only twin, and in one sentence who won; empty in all but the main process."""

    run: TrainedRun
    twin: TrainedRun
    headline: str
    page: Path


def train_twins(config: Config, *, resume: bool | Literal["auto"] = False) -> Twins:
    """Train as `train` does, then the twin: as many steps of labeled-only training, all else the same.

    The twin's directory has the run's name with `-labeled_only`. What was cut off goes on with `resume`: a finished run
    is not trained again, and a twin that had not begun is begun. At the end the report of the run says who won, and
    links to `compare.html` beside it.

    Args:
        config: of the run.
        resume: as of `train`.

    Raises:
        SemisegError: as `train`; also before the first step if the twin has no place to go.
        RunStopped: as `train`, in either of the two.
    """
    if not find_method(config.method).learns_unlabeled:
        raise ConfigError(
            f"the method {config.method} is labeled-only: it has no twin", where="method", remedy="leave --twin out"
        )
    name = run_name(config)
    place = RunDirectory(Path(config.run.folder) / (name + _SUFFIX))
    if not resume:
        refuse_place(place, resume=False)
    run = train(config, resume=resume)
    twin = train(twin_config(config, run, name + _SUFFIX), resume="auto" if resume else False)
    page = run.path / "compare.html"
    if not speaks_for_all():
        return Twins(run, twin, "", page)
    found = compare([twin.path, run.path], page, device=config.device)
    said = {"twin": twin.path.name, "headline": found.verdict.headline, "details": list(found.verdict.details)}
    write_text(RunDirectory(run.path).twin, json.dumps(said, indent=1) + "\n")
    report(run.path)
    return Twins(run, twin, found.verdict.headline, page)


def twin_config(config: Config, run: TrainedRun, name: str) -> Config:
    """Return the twin's configuration.

    Epochs of the two differ, so both lengths are said in steps: of the training, and between evaluations, as the best
    of more evaluations would be better by chance.
    """
    record = read_run(run.path)
    scores = record.metrics.get(f"{record.models()[0]}/miou", ()) if record.models() else ()
    evaluation = config.evaluation
    if scores:
        evaluation = replace(evaluation, every=None, every_steps=scores[0].step)
    return replace(
        config,
        method="supervised",
        published=None,
        run=replace(config.run, name=name),
        schedule=replace(config.schedule, steps=run.result.steps),
        evaluation=evaluation,
    )
