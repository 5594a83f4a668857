"""R7: a process dies, the others end at once, torchrun starts all again, and the run ends as if undisturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

WORDS = ("--schedule.steps", "40", "--schedule.checkpoint_every", "3", "--schedule.batch", "4")


def wait_for_checkpoint(run: Path, after: int = 0) -> int:
    """Wait until the run has a checkpoint of a later step; return its step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        steps = [int(path.name.removeprefix("step_")) for path in (run / "checkpoints").glob("step_*")]
        if max(steps, default=0) > after:
            return max(steps)
        time.sleep(0.01)
    raise AssertionError("the training does not get on")


def process_of_rank(rank: int, run: Path) -> int:
    """Return the process id of one rank of a run."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, variables = ((folder / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        if words[1:4] == [b"-u", b"-m", b"semiseg"] and run.name.encode() in words and b"RANK=%d" % rank in variables:
            return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


def test_r07_ranks_that_are_killed_cost_the_steps_since_the_last_checkpoint(
    tiny_words: Callable[..., list[str]],
    train_by_two: Callable[[list[str]], str],
    launcher: Callable[..., subprocess.Popen[str]],
    numbers: Callable[[Path], dict[tuple[int, str], float]],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
    tmp_path: Path,
) -> None:
    train_by_two(tiny_words("undisturbed", *WORDS))
    run, step = tmp_path / "killed", 0
    job = launcher(["--max-restarts", "2"], [*tiny_words(run.name, *WORDS), "--resume", "auto"])
    for rank in (1, 0):
        step = wait_for_checkpoint(run, after=step)
        os.kill(process_of_rank(rank, run), signal.SIGKILL)
    said = job.communicate(timeout=240)[1]
    assert job.returncode == 0, said
    assert said.count("resumed after step") == 2
    assert said.count("step 40/40  mIoU") == 1
    assert numbers(run) == numbers(tmp_path / "undisturbed")
    expected, found = end_state(tmp_path / "undisturbed"), end_state(run)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
