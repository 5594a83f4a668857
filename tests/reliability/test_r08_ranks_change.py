"""R8: a run of two processes that goes on in one, and back, has the losses of one that was never divided.

In float64: tests/support/float64.py says why.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from float64 import PROGRAM, in_float64  # tests/support

from semiseg.api import TrainedRun

__all__ = ["in_float64"]  # a fixture

# With padding, of which each process has another share.
WORDS = (
    *("--schedule.steps", "30", "--schedule.checkpoint_every", "5", "--schedule.batch", "4"),
    *("--data.scale", "[0.2, 0.9]"),
)
LOSSES = ("train/loss", "train/loss_x", "train/loss_s", "train/lr")


@pytest.mark.usefixtures("in_float64")
def test_r08_two_processes_become_one_and_two_again(
    tiny_words: Callable[..., list[str]],
    train_tiny: Callable[..., TrainedRun],
    launch_two: Callable[..., str],
    launcher: Callable[..., subprocess.Popen[str]],
    python: tuple[list[str], dict[str, str]],
    numbers: Callable[[Path], dict[tuple[int, str], float]],
    tmp_path: Path,
) -> None:
    run = tmp_path / "x"

    def wait_for(step: int) -> None:
        deadline = time.monotonic() + 120
        while not (run / "checkpoints" / f"step_{step:08d}").exists():
            assert time.monotonic() < deadline, "the training does not get on"
            time.sleep(0.01)

    two = launcher([], tiny_words("x", *WORDS), [PROGRAM])
    wait_for(5)
    two.terminate()
    two.communicate(timeout=60)
    [interpreter, _], environment = python
    one = subprocess.Popen(
        [interpreter, PROGRAM, "train", *tiny_words("x", *WORDS), "--resume"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(20)
    one.terminate()
    assert "batch 4 = 1 processes x 1 passes x 4" in one.communicate(timeout=60)[1]
    said = launch_two([PROGRAM, "train"], [*tiny_words("x", *WORDS), "--resume"])
    assert "batch 4 = 2 processes x 1 passes x 2" in said

    expected, found = numbers(train_tiny("alone", *WORDS).path), numbers(run)
    assert found.keys() == expected.keys()
    losses = [key for key in expected if key[1] in LOSSES]
    assert len(losses) == 120
    assert [(key, found[key], expected[key]) for key in losses if abs(found[key] - expected[key]) > 1e-9] == []
