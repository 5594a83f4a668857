"""R24: Ctrl-C saves and leaves no process behind; a second one does not wait for that."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg.engine.checkpoint import load_checkpoint
from semiseg.engine.stopping import StopRequest


def test_r24_ctrl_c_leaves_a_checkpoint_and_no_worker(
    tiny_words: Callable[..., list[str]], python: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    command, environment = python
    words = tiny_words("x", "--schedule.steps", "100000", "--data.workers", "2", "--evaluation.every", "1000000")
    said = tmp_path / "said"
    with subprocess.Popen(
        [*command, "semiseg", "train", *words], env=environment, stderr=said.open("w"), start_new_session=True
    ) as run:
        try:
            end = time.monotonic() + 120
            while "step 2/" not in said.read_text():
                assert time.monotonic() < end
                time.sleep(0.05)
            os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all processes of the foreground
            assert run.wait(60) == 130
        finally:
            run.kill()
    checkpoint = load_checkpoint(tmp_path / "x" / "checkpoints", pytest.fail)
    assert checkpoint is not None
    assert "continue with --resume" in said.read_text()
    end = time.monotonic() + 20
    while subprocess.run(["pgrep", "-g", str(run.pid)], capture_output=True, check=False).stdout:
        assert time.monotonic() < end, "a loader process is left"
        time.sleep(0.1)


def test_r24_a_second_ctrl_c_interrupts_at_once() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
