"""R4: whatever moment ends the process while it saves, the newest whole checkpoint loads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

TraceFunction = Callable[[FrameType, str, Any], Any]


def checkpoint_of(step: int) -> Checkpoint:
    return Checkpoint(step, {"a": torch.full((30, 20), float(step)), "b": torch.tensor(step)}, {"value": step})


def fail(message: str) -> None:
    raise AssertionError(f"nothing was damaged, but: {message}")


class Died(BaseException):
    """The process, at a line of the test's choosing."""


def save_until(last: int, folder: Path, checkpoint: Checkpoint) -> int:
    """Save, but die at the last line of Python, of ours or of the libraries; return how many lines were run."""
    lines = 0

    def count(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal lines
        lines += event == "line"
        if lines == last:
            raise Died
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        save_checkpoint(folder, checkpoint)
    except Died:
        assert lines >= last  # what cleans up runs on
    finally:
        sys.settrace(before)
    return lines


def test_r04_whatever_line_is_the_last_a_whole_checkpoint_is_there(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path / "whole", checkpoint_of(step))
    lines = save_until(sys.maxsize, tmp_path / "counted", checkpoint_of(3))
    seen = set()
    for last in range(1, lines + 100, 7):  # a few more: here the oldest is removed too
        folder = tmp_path / str(last)
        shutil.copytree(tmp_path / "whole", folder)
        save_until(last, folder, checkpoint_of(3))
        found = load_checkpoint(folder, fail)
        assert found is not None
        assert found.state == {"value": found.step}
        assert torch.equal(found.tensors["a"], checkpoint_of(found.step).tensors["a"])
        seen.add(found.step)
        shutil.rmtree(folder)
    assert seen == {2, 3}


# Rounds in one process, as starting Python takes longer than all of them: a child saves without end, its parent kills
# it at some moment and loads what is there.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

folder, random = Path(sys.argv[1]), random.Random(0)
last, drafts, notes = 0, 0, []
for round in range(20):
    child = os.fork()
    if child == 0:
        for step in range(last + 1, 10**6):
            save_checkpoint(folder, Checkpoint(step, {"a": torch.full((60_000,), float(step))}, {"value": step}))
    time.sleep(random.uniform(0.02, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    drafts += any(path.name.startswith(".") for path in folder.iterdir())
    found = load_checkpoint(folder, notes.append)
    assert found is not None or last == 0, "a checkpoint that was there is gone"
    if found is not None:
        assert found.step >= last and found.state == {"value": found.step}
        assert torch.equal(found.tensors["a"], torch.full((60_000,), float(found.step)))
        last = found.step
save_checkpoint(folder, Checkpoint(last + 1, {}, {}))
left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
print(json.dumps({"last": last, "drafts": drafts, "notes": notes, "left": left}))
"""


def test_r04_a_kill_at_any_of_20_moments_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["drafts"] > 0, "no kill fell into the writing: the test has not tested"
    assert found["last"] > 0
    assert found["notes"] == [], "a killed process leaves nothing that looks like a checkpoint and is none"
    assert found["left"] == [], "what kills have left, gigabytes each, goes with the next checkpoint"
