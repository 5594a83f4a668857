"""The runs of a plan: which are finished, and the rest of them on the cores there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.accuracy.costs import Costs
from benchmarks.accuracy.jobs import REPOSITORY, complaint, start
from benchmarks.accuracy.plan import Dataset, Plan, Variant, same

from semiseg.config import to_dict
from semiseg.engine.progress import duration
from semiseg.errors import ConfigError, closest

STEPS, TIME = "steps", "time"
"""What is equal for the variants of a table: the number of steps, or the seconds of training."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training of a plan, and where everything of it is.

    Attributes:
        dataset: what it learns.
        variant: how.
        budget: `steps` or `time`.
        seed: of the run.
        config: the whole configuration, plain.
        out: folder of all.
        cost: of a step, where the time is equal.
        teachers: those whose labels it learns.
    """

    dataset: Dataset
    variant: Variant
    budget: str
    seed: int
    config: Mapping[str, Any]
    out: Path
    cost: float | None = None
    teachers: Sequence[Run] = ()

    @property
    def name(self) -> str:
        """Data set, variant (`@time` where that is equal) and seed."""
        return f"{self.dataset.name}/{_folder(self.variant, self.budget)}/seed{self.seed}"

    @property
    def result(self) -> Path:
        """The file of the result."""
        return self.out / "results" / f"{self.name}.json"

    @property
    def job(self) -> Path:
        """The file that tells the worker what to do."""
        return self.out / "runs" / f"{self.name}.job.json"

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(self.config["run"]["folder"]) / str(self.config["run"]["name"])

    @property
    def ready(self) -> bool:
        """Whether all its teachers have learned."""
        return all(teacher.found() for teacher in self.teachers)

    def found(self) -> dict[str, Any] | None:
        """Return the result, if there is one of this very configuration."""
        if not self.result.is_file():
            return None
        result: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        return result if same(result["config"], self.config) else None

    def start(self, core: int | None) -> subprocess.Popen[bytes]:
        """Train on a core, or go on; a result of another configuration is put aside."""
        if self.result.is_file():
            os.replace(self.result, self.result.with_suffix(".replaced.json"))
        facts = {"dataset": self.dataset.name, "variant": self.variant.name, "budget": self.budget, "seed": self.seed}
        job = {
            "facts": {**facts, "cost": self.cost, "commit": _commit()},
            "config": self.config,
            "test": str(self.dataset.test) if self.dataset.test else None,
            "teachers": [str(teacher.folder) for teacher in self.teachers],
            "labels": dict(self.variant.labels),
            "spent": [teacher.found() for teacher in self.teachers],
            "result": str(self.result),
        }
        return start(self.job, job, core)

    def line(self, found: Mapping[str, Any]) -> str:
        """Say how it ended, which has the result `found`."""
        last, best, seconds = found["last"][found["judged"]], found["best"][found["judged"]], found["seconds"]
        test = f", test {100 * found['test']['score']:.1f}" if found["test"] else ""
        return (
            f"{self.name}: val {100 * last:.1f} (best {100 * best:.1f}){test}, {self.config['schedule']['steps']} "
            f"steps in {duration(seconds['training_cpu'])} of CPU, {duration(seconds['all_wall'])} with all"
        )


def _folder(variant: Variant, budget: str) -> str:
    return f"{variant.name}@time" if budget == TIME else variant.name


@cache
def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+changes" if git("status", "--porcelain", "src") else "")


def plan_runs(
    plan: Plan, out: Path, only: Sequence[str], budgets: Sequence[str], cores: Sequence[int | None]
) -> list[Run]:
    """Return the runs, seed by seed; measures what a step costs, where that is to be known for the first time.

    Args:
        plan: the plan.
        out: folder of all.
        only: `DATASET`, `DATASET/VARIANT` or `/VARIANT`, a variant perhaps with `@time`; none: all.
        budgets: `steps`, `time` or both; the clock is of both.
        cores: the first is measured on; none: what has not been measured is left out.

    Raises:
        ConfigError: a word of `only` names nothing of the plan.
    """
    _require_known(plan, only)
    runs = []
    for dataset in plan.datasets.values():
        timed, costs = [], Costs(plan, dataset, out)
        for variant in plan.variants.values():
            if (STEPS in budgets or variant.name == plan.clock) and _is_chosen(dataset, _folder(variant, STEPS), only):
                runs += _seeds(plan, dataset, variant, out)
            if TIME in budgets and variant.name != plan.clock and _is_chosen(dataset, _folder(variant, TIME), only):
                timed.append(variant)
        if timed and cores:
            costs.measure(timed, cores[0])
        for variant in filter(costs.knows, timed):
            runs += _seeds(plan, dataset, variant, out, costs)
    return sorted(runs, key=lambda run: plan.seeds.index(run.seed))


def _seeds(plan: Plan, dataset: Dataset, variant: Variant, out: Path, costs: Costs | None = None) -> list[Run]:
    """Return the runs of a variant: as many steps as the plan says, or with the costs as many as the time allows."""
    budget, runs = TIME if costs else STEPS, []
    for seed in plan.seeds:
        config = to_dict(plan.config(dataset, variant, seed, costs.steps(variant) if costs else None))
        folder = out / "runs" / dataset.name / _folder(variant, budget)
        config["run"] = {"folder": str(folder), "name": f"seed{seed}"}
        cost = costs.of(variant) if costs else None
        place = {"dataset": dataset, "variant": variant, "budget": budget, "seed": seed}
        seeds = plan.seeds if variant.all_seeds else [seed]
        teachers = [
            run
            for name in variant.teachers
            for run in _seeds(plan, dataset, plan.variants[name], out)
            if run.seed in seeds
        ]
        runs.append(Run(**place, config=config, out=out, cost=cost, teachers=teachers))
    return runs


def _is_chosen(dataset: Dataset, variant: str, only: Sequence[str]) -> bool:
    return not only or any(
        left in ("", dataset.name) and right in ("", variant)
        for left, _, right in (word.partition("/") for word in only)
    )


def _require_known(plan: Plan, only: Sequence[str]) -> None:
    """Raise if a word names nothing: it would choose no run, and the table would be empty without a reason."""
    variants = [_folder(variant, budget) for variant in plan.variants.values() for budget in (STEPS, TIME)]
    for word in only:
        left, _, right = word.partition("/")
        for name, known in ((left, plan.datasets), (right, variants)):
            if name and name not in known:
                raise ConfigError(
                    f"the plan has no {name!r}{closest(name, known)}",
                    where=f"--only {word}",
                    expected=f"DATASET, DATASET/VARIANT or /VARIANT, of {', '.join((*plan.datasets, *plan.variants))}",
                    remedy="name what is there; a variant of all data sets is /VARIANT",
                )


@dataclass
class Pool:
    """Runs on cores, one on each at a time."""

    waiting: list[Run]
    cores: Sequence[int | None]
    running: dict[int, tuple[Run, subprocess.Popen[bytes], float]] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    failed: int = 0

    def run(self) -> int:
        """Run all; return how many failed.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when every training has saved where it is.
        """
        count = len(self.waiting)
        try:
            while self.waiting or self.running:
                self._fill()
                self._refuse_orphans()
                for place, (run, process, began) in list(self.running.items()):
                    if process.poll() is not None:
                        del self.running[place]
                        self._note(run, process.returncode, time.monotonic() - began, count)
                time.sleep(0.2)
        finally:
            if self.running:
                print(f"stopping: {len(self.running)} trainings save where they are", file=sys.stderr, flush=True)
            for _, process, _ in self.running.values():
                process.terminate()
            for _, process, _ in self.running.values():
                process.wait()
        return self.failed

    def _fill(self) -> None:
        for place, core in enumerate(self.cores):
            run = next((run for run in self.waiting if run.ready), None)
            if run and place not in self.running:
                self.waiting.remove(run)
                self.running[place] = run, run.start(core), time.monotonic()

    def _refuse_orphans(self) -> None:
        """Leave out runs that wait for teachers that nobody trains."""
        if not self.running and self.waiting:
            for run in self.waiting:
                missing = next(teacher.name for teacher in run.teachers if not teacher.found())
                print(f"{run.name}: FAILED: its teacher {missing} is not trained; choose it too", flush=True)
            self.failed += len(self.waiting)
            self.waiting.clear()

    def _note(self, run: Run, code: int, seconds: float, count: int) -> None:
        self.took.append(seconds)
        found = None if code else run.found()
        self.failed += found is None
        line = run.line(found) if found else f"{run.name}: FAILED ({code}): {complaint(run.job)}"
        left = sum(self.took) / len(self.took) * (count - len(self.took)) / min(len(self.cores), count)
        print(f"[{len(self.took)}/{count}] {line}; {duration(left)} left", flush=True)


def run_all(runs: Sequence[Run], cores: Sequence[int | None]) -> int:
    """Run those without a result; return how many failed.

    Raises:
        SemisegError: scenes cannot be drawn, or others were drawn there.
        KeyboardInterrupt: see `Pool.run`.
    """
    waiting = [run for run in runs if run.found() is None]
    print(f"{len(runs)} runs, {len(runs) - len(waiting)} finished before", flush=True)
    for dataset in {run.dataset.name: run.dataset for run in runs}.values():
        dataset.prepare()
    return Pool(waiting, cores).run()
