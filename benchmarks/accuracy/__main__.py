"""Train the variants of a plan on its data sets, seed by seed, and print how they compare.

    python -m benchmarks.accuracy PLAN [--data FOLDER] [--cores 0,1] [--budget steps time] [--only DATASET/VARIANT]

What is finished is kept below `--out` and not trained again; what was cut off goes on. Exit code 1 if a run failed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the cores are for the runs

from benchmarks.accuracy.plan import load_plan
from benchmarks.accuracy.runs import STEPS, TIME, plan_runs, run_all
from benchmarks.accuracy.table import markdown, summary
from benchmarks.program import GOES_ON, run_program


def main(words: Sequence[str] | None = None) -> int:
    """Run the plan, print its tables and return the exit code."""
    options = _parser().parse_args(words)
    out = options.out.absolute()
    plan = load_plan(options.plan, data=options.data, drawn=out / "drawn", added=options.variant)
    plan = replace(plan, seeds=options.seeds or plan.seeds)
    cores = [] if options.table else _cores(options.cores)[: options.jobs]
    runs = plan_runs(plan, out, options.only, options.budget, cores)
    failed = 0 if options.table else run_all(runs, cores)
    reference = options.against or plan.reference
    found = summary([result for run in runs if (result := run.found())], reference, plan.clock)
    print(markdown(found, reference, classes=options.classes))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__.partition("\n")[0])
    parser.add_argument("plan", help="camvid, drawn, or a YAML file like those in benchmarks/accuracy/plans")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="what the plan calls DATA")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="DATASET/VARIANT", help="of the plan; either part may be left out"
    )
    parser.add_argument(
        "--variant", action="append", default=[], metavar="NAME='--key value ...'", help="one more, or in place of one"
    )
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="default: the plan's, else 0 1 2")
    parser.add_argument(
        "--budget", nargs="+", choices=(STEPS, TIME), default=[STEPS], help="equal steps (default), equal time, or both"
    )
    parser.add_argument("--against", metavar="VARIANT", help="to compare with; default: the plan's reference")
    parser.add_argument("--cores", default="", metavar="0,1", help="default: all that this process may use")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time; default: one on each core")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"), help="default: runs/accuracy")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--classes", action="store_true", help="also print the IoU of each class")
    parser.add_argument("--table", action="store_true", help="train nothing: the table of what is finished")
    return parser


def _cores(text: str) -> list[Any]:
    if text:
        return [int(word) for word in text.split(",")]
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return [None] * (os.cpu_count() or 1)


if __name__ == "__main__":
    run_program(main, GOES_ON)
