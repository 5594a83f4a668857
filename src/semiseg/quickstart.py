"""The demo: labeled-only, FixMatch and UniMatch V2 on drawn scenes, side by side, in minutes on two cores."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from semiseg.api import recipe_config, train
from semiseg.data.scenes import write_scenes
from semiseg.data.spec import SCORE_NAMES
from semiseg.engine.training import TrainingResult
from semiseg.errors import ConfigError, RunError, closest
from semiseg.files import write_text

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

_SUMMARY = "summary.json"
_LABELED, _UNLABELED, _VAL = 8, 192, 64


def demo(
    out: Path = Path("runs/demo"),
    *,
    task: str = "segmentation",
    seed: int = 0,
    fresh: bool = False,
    overrides: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Draw the scenes, train the methods on them and print how they compare.

    Args:
        out: where the scenes, the runs and `summary.json` go.
        task: a name of `TASKS`: `segmentation`, or `change` for two dates of each place.
        seed: seed of the runs; the scenes are always the same.
        fresh: remove an earlier demo at the same place first.
        overrides: settings for all runs, as on the command line.

    Returns:
        The content of `summary.json`: `{"labeled_only": {"miou": ..}, .., "seconds": ..}`, mIoU (`changed_iou` of
        change detection) from 0 to 1, the seconds of the trainings together.

    Raises:
        RunError: `out` holds something, and is not an earlier demo that may be removed.
        ConfigError: an unknown task.
    """
    if task not in TASKS:
        raise ConfigError(
            f"unknown task {task!r}{closest(task, TASKS)}", expected=", ".join(TASKS), remedy="correct --task"
        )
    asked = TASKS[task]
    _make_room(out, fresh)
    write_scenes(out / "scenes", labeled=_LABELED, unlabeled=_UNLABELED, val=_VAL, frames=asked.frames)
    results: dict[str, TrainingResult] = {}
    began = time.monotonic()
    for name in asked.runs:
        places = ["--data.root", str(out / "scenes"), "--run.folder", str(out), "--run.name", name]
        words = [*places, "--method", METHODS[name], "--seed", str(seed), *overrides]
        results[name] = train(recipe_config(asked.recipe, words)).result
    seconds = round(time.monotonic() - began, 1)
    summary = {**{name: {result.score: result.best} for name, result in results.items()}, "seconds": seconds}
    write_text(out / _SUMMARY, json.dumps(summary, indent=1) + "\n")
    _print(asked, results, seconds, out)
    return summary


def _make_room(out: Path, fresh: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = {"scenes", _SUMMARY, *METHODS}
    if not fresh or not out.is_dir() or not {path.name for path in out.iterdir()} <= ours:
        raise RunError(
            "the demo's directory is not empty",
            where=out,
            remedy="pass --fresh to replace an earlier demo, or --out DIR for another place",
        )
    shutil.rmtree(out)


def _print(task: DemoTask, results: dict[str, TrainingResult], seconds: float, out: Path) -> None:
    first = results["labeled_only"]
    table = Table(title=f"{_LABELED} labeled and {_UNLABELED} unlabeled {task.scenes}, {_VAL} val {task.scenes}")
    table.add_column("method")
    table.add_column(SCORE_NAMES[first.score], justify="right")
    table.add_column("gain", justify="right")
    table.add_column("report")
    for name, result in results.items():
        best, gain = result.best or 0.0, (result.best or 0.0) - (first.best or 0.0)
        table.add_row(LABELS[name], f"{best:.1%}", f"{gain * 100:+.1f}", str(out / name / "report.html"))
    Console(width=100).print(table)
    images = "FOLDER_WITH_A_AND_B" if task.frames == 2 else "IMAGES"
    print(f"{len(results)} trainings in {seconds:.0f} s; try: semiseg predict {out}/unimatch_v2 {images} --out masks")
