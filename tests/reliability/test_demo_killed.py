"""A demo that is killed in the middle goes on when it is started again, and says what it did."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

# The real demo, on few small scenes and for few steps.
DEMO = """
import sys
from pathlib import Path
from semiseg import quickstart

quickstart._LABELED, quickstart._UNLABELED, quickstart._VAL = 4, 4, 2
quickstart.demo(Path(sys.argv[1]), overrides=(
    "--model.encoder", "vit_nano", "--data.crop", "32", "--data.workers", "0", "--device", "cpu",
    "--schedule.steps", "14", "--schedule.batch", "2", "--schedule.checkpoint_every", "2", "--evaluation.every", "100",
))
"""


def start(out: Path, python: tuple[list[str], dict[str, str]]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DEMO, str(out)],
        env=python[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_a_demo_killed_amid_its_second_training_finishes_when_it_is_started_again(
    python: tuple[list[str], dict[str, str]], end_state: Callable[[Path], dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    undisturbed = start(tmp_path / "undisturbed", python)
    assert "3 trainings in" in undisturbed.communicate(timeout=120)[0]

    out = tmp_path / "killed"
    killed = start(out, python)
    deadline = time.monotonic() + 120
    while killed.poll() is None and not list((out / "fixmatch" / "checkpoints").glob("step_*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL, "it ended before it could be killed"
    kept = (out / "labeled_only" / "metrics.csv").stat().st_mtime_ns

    again = start(out, python)
    said = again.communicate(timeout=120)[0]
    assert again.returncode == 0
    assert "labeled-only: kept, its training was finished before" in said
    assert "FixMatch: its training goes on where it was cut off" in said
    assert "3 trainings (1 kept, 1 continued from before" in said
    assert "resumed after step" in (out / "fixmatch" / "train.log").read_text()
    assert (out / "labeled_only" / "metrics.csv").stat().st_mtime_ns == kept
    summaries = [json.loads((place / "summary.json").read_text()) for place in (out, tmp_path / "undisturbed")]
    for summary in summaries:
        del summary["seconds"]
    assert summaries[0] == summaries[1]
    for name in ("labeled_only", "fixmatch", "unimatch_v2"):
        expected, found = end_state(tmp_path / "undisturbed" / name), end_state(out / name)
        assert [key for key in expected if not torch.equal(found[key], expected[key])] == []
