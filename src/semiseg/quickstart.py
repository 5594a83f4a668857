"""The demo: labeled-only, FixMatch and UniMatch V2 on drawn scenes, side by side, in minutes on two cores."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from semiseg.api import recipe_config, train
from semiseg.data.scenes import write_scenes
from semiseg.errors import RunError

METHODS = {"labeled_only": "supervised", "fixmatch": "fixmatch", "unimatch_v2": "unimatch_v2"}
"""The demo's runs and the method of each."""

_SUMMARY = "summary.json"
_LABELED, _UNLABELED, _VAL = 8, 192, 64


def demo(
    out: Path = Path("runs/demo"), *, seed: int = 0, fresh: bool = False, overrides: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Draw the scenes, train the three methods on them and print how they compare.

    Args:
        out: where the scenes, the three runs and `summary.json` go.
        seed: seed of the three runs; the scenes are always the same.
        fresh: remove an earlier demo at the same place first.
        overrides: settings for all three runs, as on the command line.

    Returns:
        The content of `summary.json`: `{"labeled_only": {"miou": ..}, .., "seconds": ..}`, mIoU from 0 to 1, the
        seconds of the three trainings together.

    Raises:
        RunError: `out` holds something, and is not an earlier demo that may be removed.
    """
    _make_room(out, fresh)
    write_scenes(out / "scenes", labeled=_LABELED, unlabeled=_UNLABELED, val=_VAL)
    summary: dict[str, Any] = {}
    began = time.monotonic()
    for name, method in METHODS.items():
        places = ["--data.root", str(out / "scenes"), "--run.folder", str(out), "--run.name", name]
        run = train(recipe_config("demo", [*places, "--method", method, "--seed", str(seed), *overrides]))
        summary[name] = {"miou": run.result.best}
    summary["seconds"] = round(time.monotonic() - began, 1)
    (out / _SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    _print(summary, out)
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


def _print(summary: dict[str, Any], out: Path) -> None:
    table = Table(title=f"{_LABELED} labeled and {_UNLABELED} unlabeled scenes, {_VAL} val scenes")
    table.add_column("method")
    table.add_column("mIoU", justify="right")
    table.add_column("gain", justify="right")
    table.add_column("report")
    labels = {"labeled_only": "labeled-only", "fixmatch": "FixMatch", "unimatch_v2": "UniMatch V2"}
    first = summary["labeled_only"]["miou"]
    for name, label in labels.items():
        miou = summary[name]["miou"]
        table.add_row(label, f"{miou:.1%}", f"{(miou - first) * 100:+.1f}", str(out / name / "report.html"))
    Console(width=100).print(table)
    print(f"three trainings in {summary['seconds']:.0f} s; try: semiseg predict {out}/unimatch_v2 IMAGES --out masks")
