"""The demo: labeled-only, FixMatch and UniMatch V2 on drawn scenes, side by side, in minutes on two cores."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from semiseg.api import train
from semiseg.config.recipe import recipe_config
from semiseg.data.scenes import write_scenes
from semiseg.data.spec import SCORE_NAMES
from semiseg.errors import ConfigError, RunError, closest
from semiseg.files import is_bare, remove_drafts, write_text
from semiseg.recipes import load_recipe

LABELS = {"labeled_only": "labeled-only", "fixmatch": "FixMatch", "unimatch_v2": "UniMatch V2"}
"""What the demo calls its runs."""
METHODS = {"labeled_only": "supervised", "fixmatch": "fixmatch", "unimatch_v2": "unimatch_v2"}
"""The method of each run."""


@dataclass(frozen=True, kw_only=True)
class DemoTask:
    """What one demo learns: its recipe, the frames of a scene, its runs, and the words for its scenes."""

    recipe: str
    frames: Literal[1, 2]
    runs: tuple[str, ...]
    scenes: str


TASKS = {
    "segmentation": DemoTask(
        recipe="demo", frames=1, runs=("labeled_only", "fixmatch", "unimatch_v2"), scenes="scenes"
    ),
    # Two runs, as each looks at two pictures of a place.
    "change": DemoTask(recipe="demo-change", frames=2, runs=("labeled_only", "unimatch_v2"), scenes="pairs of scenes"),
}
"""The demos by name."""

_SUMMARY, _MARKER, _SCENES = "summary.json", "demo.json", "scenes"
_LABELED, _UNLABELED, _VAL = 8, 192, 64

_Done = dict[str, dict[str, Any]]
"""The finished runs by name: `score` (its name), `best` (its value) and `seconds`."""


def demo(
    out: Path = Path("runs/demo"),
    *,
    task: str = "segmentation",
    seed: int = 0,
    fresh: bool = False,
    overrides: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Draw the scenes, train the methods on them and print how they compare.

    A demo that was cut off goes on: finished trainings are kept, the one that was cut continues at its newest
    checkpoint. `demo.json` says that the folder is a demo's, what was asked for and which trainings are finished.

    Args:
        out: where the scenes, the runs and `summary.json` go.
        task: a name of `TASKS`: `segmentation`, or `change` for two dates of each place.
        seed: seed of the runs; the scenes are always the same.
        fresh: remove an earlier demo at the same place first; files that no demo wrote stay.
        overrides: settings for all runs, as on the command line.

    Returns:
        The content of `summary.json`: `{"labeled_only": {"miou": ..}, .., "seconds": ..}`, mIoU (`changed_iou` of
        change detection) from 0 to 1, the seconds of the trainings together.

    Raises:
        RunError: `out` holds something that no demo wrote, or a demo of other settings.
        ConfigError: an unknown task.
    """
    if task not in TASKS:
        raise ConfigError(
            f"unknown task {task!r}{closest(task, TASKS)}", expected=", ".join(TASKS), remedy="correct --task"
        )
    asked = TASKS[task]
    settings = {"task": task, "seed": seed, "overrides": list(overrides), "recipe": load_recipe(asked.recipe)}
    if fresh:
        _clear(out, settings)
    done = _open(out, settings)
    kept = list(done)
    continued = [name for name in asked.runs if name not in kept and (out / name / "config.yaml").is_file()]
    draw_scenes(out / _SCENES, asked)
    for name in asked.runs:
        if name in kept:
            print(f"{LABELS[name]}: kept, its training was finished before", flush=True)
        else:
            done[name] = _train(asked, name, out, seed, overrides, resume=name in continued)
            _note(out, settings, done)
    seconds = round(sum(run["seconds"] for run in done.values()), 1)
    summary = {**{name: {done[name]["score"]: done[name]["best"]} for name in asked.runs}, "seconds": seconds}
    write_text(out / _SUMMARY, json.dumps(summary, indent=1) + "\n")
    _print(asked, done, out)
    print(_account(len(done), len(kept), len(continued), seconds))
    images = "FOLDER_WITH_A_AND_B" if asked.frames == 2 else "IMAGES"
    print(f"try: semiseg predict {out}/unimatch_v2 {images} --out masks")
    return summary


def draw_scenes(folder: Path, asked: DemoTask) -> None:
    """Draw the scenes of a demo; always the same."""
    write_scenes(folder, labeled=_LABELED, unlabeled=_UNLABELED, val=_VAL, frames=asked.frames)


def _train(
    asked: DemoTask, name: str, out: Path, seed: int, overrides: tuple[str, ...], *, resume: bool
) -> dict[str, Any]:
    if resume:
        print(f"{LABELS[name]}: its training goes on where it was cut off", flush=True)
    places = ["--data.root", str(out / _SCENES), "--run.folder", str(out), "--run.name", name]
    words = [*places, "--method", METHODS[name], "--seed", str(seed), *overrides]
    result = train(recipe_config(asked.recipe, words), resume=resume).result
    return {"score": result.score, "best": result.best, "seconds": result.seconds}


def _clear(out: Path, settings: dict[str, Any]) -> None:
    """Remove what a demo wrote, if one wrote here at all."""
    if (out / _MARKER).is_file():
        _note(out, {}, {})  # nobody goes on with what is half removed
        for name in (*METHODS, _SCENES):
            shutil.rmtree(out / name, ignore_errors=True)
        (out / _SUMMARY).unlink(missing_ok=True)
        _note(out, settings, {})


def _open(out: Path, settings: dict[str, Any]) -> _Done:
    """Make the folder a demo's, or see that it is one of the same settings; return what is finished there."""
    marker = out / _MARKER
    if not out.exists() or (out.is_dir() and is_bare(out)):
        _note(out, settings, {})
    if not marker.is_file():
        raise RunError(
            "the directory holds something that no demo wrote",
            where=out,
            expected=f"no such directory, an empty one, or one with a demo's {_MARKER}",
            remedy="choose another place with --out DIR; it is left as it is, with --fresh too",
        )
    try:
        found: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
        same, done = found["settings"] == settings, found["done"]
    except (OSError, ValueError, KeyError, TypeError):
        same, done = False, {}
    if not same:
        raise RunError(
            "the directory holds a demo of other settings, or of another version",
            where=out,
            remedy="pass --fresh to replace it, or --out DIR for another place",
        )
    remove_drafts(out)
    return {name: run for name, run in done.items() if (out / name / "model").is_dir()}


def _note(out: Path, settings: dict[str, Any], done: _Done) -> None:
    write_text(out / _MARKER, json.dumps({"settings": settings, "done": done}, indent=1) + "\n")


def _print(task: DemoTask, done: _Done, out: Path) -> None:
    first = done["labeled_only"]
    table = Table(title=f"{_LABELED} labeled and {_UNLABELED} unlabeled {task.scenes}, {_VAL} val {task.scenes}")
    table.add_column("method")
    table.add_column(SCORE_NAMES[first["score"]], justify="right")
    table.add_column("gain", justify="right")
    table.add_column("report")
    for name in task.runs:
        best, gain = done[name]["best"] or 0.0, (done[name]["best"] or 0.0) - (first["best"] or 0.0)
        table.add_row(LABELS[name], f"{best:.1%}", f"{gain * 100:+.1f}", str(out / name / "report.html"))
    Console(width=100).print(table)


def _account(trainings: int, kept: int, continued: int, seconds: float) -> str:
    """Say what was done this time, and what before."""
    before = [f"{count} {word}" for count, word in ((kept, "kept"), (continued, "continued")) if count]
    told = f" ({', '.join(before)} from before; --fresh trains all anew)" if before else ""
    return f"{trainings} trainings{told} in {seconds:.0f} s"
