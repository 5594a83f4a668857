"""All methods on CamVid: do they train, resume bit-exactly and evaluate, and what does a step of each cost?

    python benchmarks/methods.py CAMVID [--steps N] [--json FILE]

Each method trains its small recipe on split `1_16`, at a crop and a batch for one core. Then it trains again, is killed
at two thirds, resumes, and every tensor of both last checkpoints is compared: weights, teacher, optimizer, memory. Its
model is evaluated from its files and must have the score that training logged. What a step costs is said beside
labeled-only training of the same network: seconds alone tell more of the machine, and of what else it does, than of the
method. Exit code 1 if a method resumes to other bits or evaluates to another score.

After so few steps mIoU says that the chain works, and nothing of quality.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file

from semiseg.api import evaluate, recipe_config, train
from semiseg.errors import RunError, SemisegError
from semiseg.methods import METHODS
from semiseg.models import load_model
from semiseg.recipes import is_recipe
from semiseg.reporting.record import RunRecord, read_run

CROP, BATCH = 96, 2
EVERY = 16
"""Of the val images each sixteenth is evaluated: 7."""
OWN = {"allspark": ("--allspark.warmup_epochs", "0"), "semivl": ("--semivl.guidance", "0.1")}
"""The memory answers from the first step on, as it would after the warm-up, and CLIP guides, though it has random
weights: else a step would cost less than it does in earnest."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was found of one method.

    Attributes:
        method: its name.
        student: encoder, neck and decoder.
        parameters: of the student.
        seconds: median of a step.
        labeled_only: median of a step of labeled-only training of the same student.
        lost: steps that the killed run had done beyond its last checkpoint.
        differing: tensors of the resumed run that are not bit-equal, of `tensors`.
        tensors: tensors of the last checkpoint.
        logged: mIoU in training, after the last step.
        evaluated: mIoU of the model's files.
    """

    method: str
    student: str
    parameters: int
    seconds: float
    labeled_only: float
    lost: int
    differing: int
    tensors: int
    logged: float
    evaluated: float

    @property
    def scores_agree(self) -> bool:
        """Whether the model's files have the score that training logged."""
        return abs(self.logged - self.evaluated) < 1e-6

    @property
    def holds(self) -> bool:
        """Whether the resumed run has the bits and the evaluation the score of the undisturbed training."""
        return self.differing == 0 and self.scores_agree


def recipe_of(method: str) -> str:
    """Return the small recipe of a method: its own, or that of the methods that learn with any network."""
    own = f"camvid-cpu-{method}"
    return own if is_recipe(own) else "camvid-cpu-scratch"


def train_here(recipe: str, words: list[str], resume: bool, log: Path) -> None:
    """Train in this process with one thread; what it says goes into a file."""
    torch.set_num_threads(1)
    with log.open("a", encoding="utf-8") as said:
        os.dup2(said.fileno(), sys.stderr.fileno())
    train(recipe_config(recipe, words), resume=resume)


class Trainer:
    """Trains in processes of their own and keeps the runs in a folder."""

    def __init__(self, camvid: Path, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        names = (camvid / "splits" / "val.txt").read_text(encoding="utf-8").splitlines()
        val = folder / "val.txt"
        val.write_text("\n".join(names[::EVERY]) + "\n", encoding="utf-8")
        self.words = [
            *("--data.root", str(camvid), "--data.split", "1_16", "--data.val", str(val), "--data.workers", "0"),
            *("--data.crop", str(CROP), "--schedule.batch", str(BATCH), "--schedule.steps", str(steps)),
            *("--schedule.log_every", "1", "--schedule.checkpoint_every", str(max(steps // 4, 1))),
            *("--consistency.threshold", "0.3", "--device", "cpu", "--run.folder", str(folder)),
        ]
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["semiseg.api"])

    def start(self, name: str, method: str, recipe: str, *, resume: bool = False) -> ForkServerProcess:
        """Start a training that writes into the folder `name`."""
        words = [*self.words, "--method", method, "--run.name", name, *OWN.get(method, ())]
        process = self.context.Process(target=train_here, args=(recipe, words, resume, self.log(name)))
        process.start()
        return process

    def log(self, name: str) -> Path:
        """Return where a training says how it goes."""
        return self.folder / f"{name}.log"

    def failure(self, what: str, name: str) -> RunError:
        """Return what to raise where a training did not do as it should, with what it said last."""
        return RunError(f"{what}: {self.log(name).read_text()[-2000:]}", remedy="see what it said")

    def train(self, name: str, method: str, recipe: str, *, resume: bool = False) -> RunRecord:
        """Train to the end.

        Raises:
            RunError: the training failed; with what it said last.
        """
        process = self.start(name, method, recipe, resume=resume)
        process.join()
        if process.exitcode:
            raise self.failure(f"{method} does not train", name)
        return read_run(self.folder / name)

    def kill(self, name: str, method: str, recipe: str) -> int:
        """Train until two thirds are done, and kill; return the steps beyond the last checkpoint.

        Raises:
            RunError: the training ended before; with what it said last.
        """
        process = self.start(name, method, recipe)
        metrics, step = self.folder / name / "metrics.csv", self.steps * 2 // 3
        while process.is_alive() and not (metrics.is_file() and f"\n{step}," in metrics.read_text()):
            time.sleep(0.01)
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            raise self.failure(f"{method} ended before it could be killed", name)
        kept = sorted((self.folder / name / "checkpoints").glob("step_*"))
        return read_run(self.folder / name).steps - (int(kept[-1].name.removeprefix("step_")) if kept else 0)


def last_tensors(run: RunRecord) -> dict[str, torch.Tensor]:
    """Return the tensors of the last checkpoint."""
    return load_file(sorted((run.path / "checkpoints").glob("step_*"))[-1] / "tensors.safetensors")


def pace(run: RunRecord) -> float:
    """Return the median seconds of a step; each step is logged."""
    return median(point.value for point in run.metrics["train/seconds_per_step"])


def look_at(method: str, trainer: Trainer, labeled_only: dict[str, float]) -> Row:
    """Train a method, kill and resume it, evaluate it.

    Args:
        method: its name.
        trainer: trains.
        labeled_only: median seconds of a labeled-only step by recipe; filled where it is missing.
    """
    recipe = recipe_of(method)
    whole = trainer.train(method, method, recipe)
    if recipe not in labeled_only:
        labeled_only[recipe] = pace(
            whole if method == "supervised" else trainer.train(f"{recipe}-labeled", "supervised", recipe)
        )
    lost = trainer.kill(f"{method}-killed", method, recipe)
    resumed = last_tensors(trainer.train(f"{method}-killed", method, recipe, resume=True))
    expected = last_tensors(whole)
    model, card = load_model(whole.path)
    (logged,) = whole.metrics[f"{whole.models()[0]}/miou"]
    return Row(
        method=method,
        student=" + ".join(part for part in (card.model.encoder, card.model.neck, card.model.decoder) if part),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        seconds=pace(whole),
        labeled_only=labeled_only[recipe],
        lost=lost,
        differing=sum(
            name not in resumed or name not in expected or not torch.equal(resumed[name], expected[name])
            for name in resumed.keys() | expected.keys()
        ),
        tensors=len(expected),
        logged=logged.value,
        evaluated=evaluate(whole.path, device="cpu").scores["miou"],
    )


def table(rows: Sequence[Row], steps: int) -> str:
    """Write the rows as a table of Markdown."""
    lines = [
        "| method | student | million parameters | seconds a step | of labeled-only with that student "
        f"| resumed, bit-equal | mIoU after {steps} steps | evaluated again |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        bits = f"{row.tensors - row.differing} of {row.tensors} tensors, {row.lost} steps repeated"
        again = "equal" if row.scores_agree else f"{100 * row.evaluated:.1f}"
        lines.append(
            f"| {row.method} | {row.student} | {row.parameters / 1e6:.2f} | {row.seconds:.2f} "
            f"| {row.seconds / row.labeled_only:.1f} x | {bits} | {100 * row.logged:.1f} | {again} |"
        )
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Train, kill, resume, evaluate, print; return the exit code."""
    parser = argparse.ArgumentParser(description="All methods on CamVid: training, resuming, evaluating, seconds.")
    parser.add_argument("camvid", type=Path, help="folder with images/, masks/ and splits/1_16/")
    parser.add_argument("--steps", type=int, default=24, choices=range(4, 10001), metavar="N", help="default: 24")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer, labeled_only = Trainer(args.camvid.resolve(), Path(folder), args.steps), dict[str, float]()
        for method in METHODS:
            rows.append(look_at(method, trainer, labeled_only))
            print(f"{method}: {'holds' if rows[-1].holds else 'DIFFERS'}", file=sys.stderr, flush=True)
    print(table(rows, args.steps))
    if args.json:
        found = {"steps": args.steps, "crop": CROP, "batch": BATCH, "methods": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(not all(row.holds for row in rows))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SemisegError as error:
        sys.exit(str(error))
