"""The runs of a plan: which are finished, and the rest of them on the cores there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.accuracy.plan import Dataset, Plan, Variant

from semiseg.config import Config, to_dict
from semiseg.engine.progress import duration
from semiseg.engine.rundir import flatten
from semiseg.errors import ConfigError
from semiseg.files import write_text

REPOSITORY = Path(__file__).resolve().parents[2]
CALIBRATION_STEPS, ROUNDS = 16, 3
_PLACE = {"recipe", "published", "data.root", "data.workers", "run.folder", "run.name"}
"""Keys without effect on a result, or that say where the same things are."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training of a plan, and where everything of it is.

    Attributes:
        dataset: what it learns.
        variant: how.
        config: the whole configuration, plain.
        seed: of the run.
        out: folder of all.
    """

    dataset: Dataset
    variant: Variant
    config: Mapping[str, Any]
    seed: int
    out: Path

    @property
    def name(self) -> str:
        """Data set, variant and seed."""
        return f"{self.dataset.name}/{self.variant.name}/seed{self.seed}"

    @property
    def result(self) -> Path:
        """The file of the result."""
        return self.out / "results" / f"{self.name}.json"

    def found(self) -> dict[str, Any] | None:
        """Return the result, if there is one of this very configuration."""
        result = self._read()
        return result if result is not None and same(result["config"], self.config) else None

    def _read(self) -> dict[str, Any] | None:
        return json.loads(self.result.read_text(encoding="utf-8")) if self.result.is_file() else None

    def keep_another(self) -> None:
        """Put aside a result of another configuration."""
        if self.result.is_file():
            os.replace(self.result, self.result.with_suffix(".replaced.json"))

    def start(self, core: int | None) -> subprocess.Popen[bytes]:
        """Train in a process of its own, on a core."""
        facts = {"dataset": self.dataset.name, "variant": self.variant.name, "seed": self.seed, "commit": _commit()}
        test = str(self.dataset.test) if self.dataset.test else None
        job = {"facts": facts, "config": self.config, "test": test, "result": str(self.result), "calibrate": False}
        return start(self.out / "runs" / f"{self.name}.job.json", job, core)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations train the same. A key that one does not know yet has its default there."""
    flat, defaults = (flatten(dict(one)), flatten(dict(other))), flatten(to_dict(Config()))
    keys = (flat[0].keys() | flat[1].keys()) - _PLACE
    return all(flat[0].get(key, defaults.get(key)) == flat[1].get(key, defaults.get(key)) for key in keys)


def start(file: Path, job: Mapping[str, Any], core: int | None) -> subprocess.Popen[bytes]:
    """Start a worker; what it says goes into a file beside the job. Ctrl-C does not reach it: its parent ends it."""
    write_text(file, json.dumps({**job, "core": core}, indent=1))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with said(file).open("ab") as log:
        command = [sys.executable, "-m", "benchmarks.accuracy.worker", str(file)]
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def said(file: Path) -> Path:
    """Return where the worker of a job says how it goes."""
    return file.with_name(file.name.replace(".job.json", ".log"))


@cache
def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+changes" if git("status", "--porcelain", "src") else "")


def plan_runs(plan: Plan, out: Path, chosen: Sequence[str], budgets: Sequence[str], cores: Sequence[int]) -> list[Run]:
    """Return the runs, seed by seed; measures what a step costs, where that is to be known for the first time.

    Args:
        plan: the plan.
        out: folder of all.
        chosen: `DATASET`, `DATASET/VARIANT` or `/VARIANT`, each with or without `@time`; none: all.
        budgets: `steps`, `time` or both.
        cores: the first is measured on; none: only what was measured already.
    """
    runs = []
    for dataset in plan.datasets.values():
        variants = [variant for variant in _variants(plan, budgets) if _is_chosen(dataset, variant, chosen)]
        timed = [variant for variant in variants if variant.at_time]
        costs = Costs(plan, dataset, out)
        if timed and cores:
            costs.measure(timed, cores[0])
        for variant in variants:
            if variant.at_time and not costs.knows(variant):
                continue
            steps = costs.steps(variant) if variant.at_time else None
            for seed in plan.seeds:
                config = plan.config(dataset, variant, seed, steps)
                words = {"folder": str(out / "runs" / dataset.name / variant.name), "name": f"seed{seed}"}
                placed = {**to_dict(config), "run": words}
                runs.append(Run(dataset=dataset, variant=variant, config=placed, seed=seed, out=out))
    return sorted(runs, key=lambda run: plan.seeds.index(run.seed))


def _variants(plan: Plan, budgets: Sequence[str]) -> list[Variant]:
    at_steps = list(plan.variants.values()) if "steps" in budgets else [plan.variants[plan.clock]]
    timed = [variant.timed() for name, variant in plan.variants.items() if name != plan.clock]
    return [*at_steps, *(timed if "time" in budgets else [])]


def _is_chosen(dataset: Dataset, variant: Variant, chosen: Sequence[str]) -> bool:
    return not chosen or any(
        (not left or left == dataset.name) and (not right or right == variant.name)
        for left, _, right in (word.partition("/") for word in chosen)
    )


class Costs:
    """What a step of each variant costs on a data set, in steps of the clock: both measured in the same minutes."""

    def __init__(self, plan: Plan, dataset: Dataset, out: Path) -> None:
        self.plan, self.dataset, self.out = plan, dataset, out
        self.file = out / "costs" / f"{dataset.name}.json"
        self.found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else {}

    def knows(self, variant: Variant) -> bool:
        """Whether the cost of this very variant is known."""
        name = variant.name.removesuffix("@time")
        known = self.found.get(name)
        return variant.cost is not None or (
            known is not None
            and all(
                same(known[part], to_dict(self.plan.config(self.dataset, each)))
                for part, each in (("config", variant), ("clock", self.plan.variants[self.plan.clock]))
            )
        )

    def steps(self, variant: Variant) -> int:
        """Return the steps that take as long as those of the clock."""
        clock = to_dict(self.plan.config(self.dataset, self.plan.variants[self.plan.clock]))
        cost = variant.cost or self.found[variant.name.removesuffix("@time")]["cost"]
        return max(1, round(clock["schedule"]["steps"] / cost))

    def measure(self, variants: Sequence[Variant], core: int) -> None:
        """Measure those that are not known: a few steps of each and of the clock in turn, several rounds."""
        clock = self.plan.variants[self.plan.clock]
        unknown = [variant for variant in variants if not self.knows(variant)]
        if not unknown:
            return
        self.dataset.prepare()
        rounds = []
        for number in range(ROUNDS):
            rounds.append({each.name: self._seconds(each, number, core) for each in (clock, *unknown)})
        for variant in unknown:
            ratios = [seconds[variant.name]["cpu"] / seconds[clock.name]["cpu"] for seconds in rounds]
            name = variant.name.removesuffix("@time")
            self.found[name] = {
                "cost": median(ratios),
                "ratios": ratios,
                "seconds": [seconds[variant.name] for seconds in rounds],
                "of_the_clock": [seconds[clock.name] for seconds in rounds],
                "config": to_dict(self.plan.config(self.dataset, variant)),
                "clock": to_dict(self.plan.config(self.dataset, clock)),
            }
            print(f"{self.dataset.name}: a step of {name} costs {median(ratios):.2f} of {clock.name}'s", flush=True)
        write_text(self.file, json.dumps(self.found, indent=1) + "\n")

    def _seconds(self, variant: Variant, number: int, core: int) -> dict[str, float]:
        config = to_dict(self.plan.config(self.dataset, variant, number, CALIBRATION_STEPS))
        name = f"{self.dataset.name}/{variant.name}/calibration{number}"
        config["run"] = {
            "folder": str(self.out / "runs" / self.dataset.name / variant.name),
            "name": name.split("/")[2],
        }
        file, result = self.out / "runs" / f"{name}.job.json", self.out / "costs" / f"{name}.json"
        job = {"config": config, "result": str(result), "calibrate": True}
        process = start(file, job, core)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
        if code:
            raise ConfigError(f"{name} cannot be timed: {_end(said(file))}", remedy="correct the plan")
        seconds: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
        return seconds


def run_all(runs: Sequence[Run], cores: Sequence[int | None]) -> int:
    """Run those without a result, one on each core at a time; return how many failed.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when every training has saved where it is.
    """
    waiting = [run for run in runs if run.found() is None]
    print(f"{len(runs)} runs, {len(runs) - len(waiting)} finished before", flush=True)
    for dataset in {run.dataset.name: run.dataset for run in waiting}.values():
        dataset.prepare()
    running: dict[int | None, tuple[Run, subprocess.Popen[bytes], float]] = {}
    failed, took, count = 0, list[float](), len(waiting)
    try:
        while waiting or running:
            for core in cores:
                if waiting and core not in running:
                    run = waiting.pop(0)
                    run.keep_another()
                    running[core] = run, run.start(core), time.monotonic()
            for core, (run, process, began) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[core]
                failed += process.returncode != 0
                took.append(time.monotonic() - began)
                left = sum(took) / len(took) * (count - len(took)) / min(len(cores), count)
                print(f"[{len(took)}/{count}] {_line(run, process.returncode)}; {duration(left)} left", flush=True)
            time.sleep(0.2)
    except KeyboardInterrupt:
        print(f"stopping: {len(running)} trainings save where they are", file=sys.stderr, flush=True)
        raise
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.wait()
    return failed


def _line(run: Run, code: int) -> str:
    if code:
        log = said(run.out / "runs" / f"{run.name}.job.json")
        return f"{run.name}: FAILED ({code}), see {log}: {_end(log)}"
    found = run.found()
    assert found is not None, f"{run.name} has written another configuration than it was given"
    last, best, seconds = found["last"][found["judged"]], found["best"][found["judged"]], found["seconds"]
    test = f", test {100 * found['test']['score']:.1f}" if found["test"] else ""
    return (
        f"{run.name}: val {100 * last:.1f} (best {100 * best:.1f}){test}, {run.config['schedule']['steps']} steps, "
        f"{seconds['training_cpu'] / 60:.1f} CPU minutes of training"
    )


def _end(log: Path) -> str:
    return " ".join(log.read_text(encoding="utf-8", errors="replace")[-600:].split())
