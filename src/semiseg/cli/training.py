"""The verbs that make a run, and those before it: demo, train, slurm, fetch and doctor."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.cli.options import Parser, write_json
from semiseg.errors import SemisegError
from semiseg.printable import printable

if TYPE_CHECKING:
    from semiseg.api import TrainedRun

_SIGNS = {"good": "ok", "note": "note", "bad": "BAD"}


def demo_verb(words: list[str]) -> None:
    """Show the method on drawn scenes."""
    from semiseg.quickstart import TASKS, demo

    parser = Parser("demo", "Labeled-only and UniMatch V2 (and FixMatch) on drawn scenes, side by side.")
    parser.add_argument("--task", choices=list(TASKS), default="segmentation", help="change: two dates of each place")
    parser.add_argument("--out", type=Path, help="where everything goes; default: runs/demo, or runs/demo-change")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="remove an earlier demo at the same place first, instead of going on with it",
    )
    options = parser.parse_args(words)
    out = options.out or Path("runs") / TASKS[options.task].recipe
    summary = demo(out, task=options.task, seed=options.seed, fresh=options.fresh)
    write_json(options.json, summary)


def train_verb(words: list[str]) -> None:
    """Train a model."""
    from semiseg.cli.settings_help import settings_help
    from semiseg.config.recipe import recipe_config
    from semiseg.data.source import find_lists, open_source
    from semiseg.data.spec import SCORE_NAMES

    parser = Parser("train", "Train a model. Any key of the configuration can follow as --key value.")
    parser.usage = (
        "semiseg train [RECIPE|CONFIG.yaml|FOLDER] [--resume [auto]] [--twin] [--json FILE] [--key value ...]"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        choices=["auto"],
        const=True,
        default=False,
        help="continue the run of this name; auto: if there is one, else begin it",
    )
    parser.add_argument(
        "--twin", action="store_true", help="then train the labeled-only twin, NAME-labeled_only, and say who won"
    )
    if "-h" in words or "--help" in words:
        print(parser.format_help(), settings_help(), sep="\n")
        return
    recipe, known, overrides = parser.parse_recipe(words)
    config = recipe_config(recipe, overrides)
    if config.recipe == "laptop" != recipe:
        print(
            "no GPU: recipe laptop, a small pretrained encoder (published settings: train default --data.root FOLDER)"
        )
    if not known.resume:
        find_lists(open_source(config.data))  # what is wrong there is said before torch takes seconds to import

    from semiseg.api import train
    from semiseg.engine.distributed import speaks_for_all
    from semiseg.twin import train_twins

    twins = train_twins(config, resume=known.resume) if known.twin else None
    run = twins.run if twins else train(config, resume=known.resume)
    if not speaks_for_all():
        return
    result = run.result
    name, best = SCORE_NAMES[result.score], result.best
    print(f"done: best {name} {best:.2%} at step {result.best_step}" if best is not None else "done: not evaluated")
    print(f"model:  {run.path / 'model'}\nreport: {run.path / 'report.html'}")
    facts = _facts(run)
    if twins:
        print(f"twin:   {twins.twin.path}\n{printable(twins.headline)}\n{twins.page}")
        facts |= {"twin": _facts(twins.twin), "headline": twins.headline, "page": str(twins.page)}
    write_json(known.json, facts)


def _facts(run: TrainedRun) -> dict[str, Any]:
    result = run.result
    return {
        "run": str(run.path),
        f"best_{result.score}": result.best,
        "steps": result.steps,
        "seconds": result.seconds,
    }


def distill_verb(words: list[str]) -> None:
    """Train a student on the labels of trained teachers."""
    from semiseg.cli.progress import shown_progress
    from semiseg.engine.distributed import speaks_for_all
    from semiseg.teaching import SCALES, distill, student_config

    parser = Parser("distill", "Trained teachers label every unlabeled image once; a student learns from the labels.")
    parser.usage = "semiseg distill RUN [RUN ...] --encoder NAME [--resume [auto]] [--json FILE] [--key value ...]"
    parser.add_argument("teachers", type=Path, nargs="+", metavar="RUN", help="run directories; several vote")
    parser.add_argument("--encoder", required=True, help="of the student")
    parser.add_argument("--labels", type=Path, help="where the teachers' labels go; default: labels in the first run")
    parser.add_argument("--scales", type=float, nargs="+", default=list(SCALES), help="sizes at which teachers look")
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, default=True, help="see each mirrored too")
    parser.add_argument("--resume", nargs="?", choices=["auto"], const=True, default=False, help="as of train")
    known, overrides = parser.parse_known_args(words)
    config = student_config(known.teachers[0], known.encoder, overrides)
    how = {"labels": known.labels, "scales": known.scales, "flip": known.flip, "resume": known.resume}
    with shown_progress("labels") as progress:
        found = distill(known.teachers, config, progress=progress, **how)
    if not speaks_for_all():
        return
    print(f"{printable(found.headline)}")
    for line in found.details:
        print(printable(line))
    print(f"model:  {found.run.path / 'model'}\nreport: {found.run.path / 'report.html'}")
    write_json(known.json, _facts(found.run) | {"headline": found.headline, "details": found.details})


def plan_verb(words: list[str]) -> None:
    """Say what a training will take."""
    from semiseg.config.recipe import recipe_config

    parser = Parser("plan", "Measure a few steps and say what a training takes; settings follow as for train.")
    parser.usage = "semiseg plan [RECIPE|CONFIG.yaml|FOLDER] [--hours H] [--json FILE] [--key value ...]"
    parser.add_argument("--hours", type=float, help="shorten the run to so many; default: 1 for a folder without a GPU")
    if "-h" in words or "--help" in words:
        print(parser.format_help())
        return
    recipe, known, overrides = parser.parse_recipe(words)
    recipe_config(recipe, overrides)  # what is wrong with it is said before torch takes seconds to import

    from semiseg.planning import plan

    found = plan(recipe, overrides, hours=known.hours)
    for line in found.lines():
        print(line)
    write_json(known.json, asdict(found))


def slurm_verb(words: list[str]) -> None:
    """Write a submit script."""
    from semiseg.config.recipe import recipe_config

    parser = Parser("slurm", "Write a submit script for a Slurm cluster; settings follow as for train.")
    parser.usage = "semiseg slurm RECIPE [--nodes N] [--gpus M] [--sbatch=OPTION ...] [--out FILE] [--key value ...]"
    parser.add_argument("--nodes", type=int, default=1, help="number of nodes")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs, and processes, on each node")
    parser.add_argument(
        "--sbatch", action="append", default=[], help="one more option, such as --sbatch=--time=24:00:00"
    )
    parser.add_argument("--out", type=Path, help="the script; default: the run's name with .sbatch")
    if "-h" in words or "--help" in words:
        print(parser.format_help())
        return
    recipe, known, overrides = parser.parse_recipe(words)
    recipe_config(recipe, overrides)  # as in `plan_verb`

    from semiseg.slurm import write_slurm

    script = write_slurm(recipe, overrides, nodes=known.nodes, gpus=known.gpus, options=known.sbatch, out=known.out)
    print(f"semiseg fetch {shlex.join([recipe, *overrides])}  # before, where the nodes have no network")
    print(f"sbatch {script}")
    write_json(known.json, {"script": str(script)})


def fetch_verb(words: list[str]) -> None:
    """Fetch what a training needs."""
    from semiseg.config.recipe import recipe_config

    parser = Parser("fetch", "Fetch lists and weights of a training into their caches; settings follow as for train.")
    parser.usage = "semiseg fetch [RECIPE|CONFIG.yaml|FOLDER] [--json FILE] [--key value ...]"
    if "-h" in words or "--help" in words:
        print(parser.format_help())
        return
    recipe, known, overrides = parser.parse_recipe(words)
    config = recipe_config(recipe, overrides)

    from semiseg.fetching import fetch

    fetched = fetch(config)
    for path in fetched.lists:
        print(f"list     {path}")
    print(f"weights  {fetched.weights}")
    write_json(known.json, {"lists": [str(path) for path in fetched.lists], "weights": fetched.weights})


def doctor_verb(words: list[str]) -> None:
    """Say what this machine can do."""
    try:
        from semiseg.machine import doctor
    except (ImportError, OSError, RuntimeError) as error:
        raise SemisegError(
            f"a library cannot be loaded ({error})",
            remedy="install versions that belong together: pip install --force-reinstall torch torchvision timm",
        ) from error
    options = Parser("doctor", "Say what this machine can do, and what stands in the way.").parse_args(words)
    checks = doctor()
    for check in checks:
        print(f"{_SIGNS[check.verdict]:4}  {check.name:14} {check.value}")
        if check.advice:
            print(f"{'':21}-> {check.advice}")
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in _SIGNS}
    print(f"\n{counts['good']} good, {counts['note']} to note, {counts['bad']} bad")
    write_json(options.json, {"checks": [asdict(check) for check in checks], **counts})
    if counts["bad"]:
        raise SystemExit(1)
