"""R22: a log that cannot be written costs a warning, and no run."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from semiseg.api import TrainedRun
from semiseg.engine.rundir import RunDirectory
from semiseg.engine.runlog import RunLog

WORDS = ("--schedule.steps", "6", "--schedule.checkpoint_every", "2")


@pytest.fixture
def obstructed(tmp_path: Path) -> Path:
    """Return a run that has not begun, in which something else has the place of each log; chmod does not bind root."""
    run = tmp_path / "x"
    for name in ("train.log", "metrics.csv"):
        (run / name).mkdir(parents=True)
    (run / "tensorboard").touch()
    (run / ".lock").touch()
    return run


def test_r22_a_run_goes_on_without_any_of_its_logs(
    obstructed: Path,
    train_tiny: Callable[..., TrainedRun],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    undisturbed = train_tiny("undisturbed", *WORDS)
    capsys.readouterr()
    run = train_tiny("x", *WORDS)
    said = capsys.readouterr().err
    for name in ("train.log", "metrics.csv", "tensorboard"):
        assert said.count(f"{name} cannot be written (") == 1
    assert "Is a directory): the run goes on without it" in said
    assert run.result.best == undisturbed.result.best
    expected, found = end_state(undisturbed.path), end_state(run.path)
    assert [key for key in expected if not torch.equal(found[key], expected[key])] == []


def test_r22_a_resumed_run_goes_on_without_them_too(
    train_tiny: Callable[..., TrainedRun], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny("x", *WORDS)
    (run.path / "metrics.csv").unlink()
    (run.path / "metrics.csv").mkdir()
    assert train_tiny("x", *WORDS, resume=True).result.best == run.result.best
    assert "metrics.csv cannot be written (Is a directory)" in capsys.readouterr().err


def test_r22_a_disk_that_fills_up_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = RunDirectory(tmp_path)
    directory.log.symlink_to("/dev/full")
    with RunLog(directory, active=True) as log:
        for step in range(1, 4):
            log.say(f"line {step}")
            log.numbers(step, 0.1, {"train/loss": 1.0})
    said = capsys.readouterr().err
    assert said.count("train.log cannot be written (No space left on device)") == 1
    assert [f"line {step}" in said for step in range(1, 4)] == [True] * 3
    with directory.metrics.open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["step", "1", "2", "3"], "the other files are written"


def test_r22_tensorboard_may_fail_amid_a_run(
    train_tiny: Callable[..., TrainedRun], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = SummaryWriter.add_scalar

    def full(board: SummaryWriter, name: str, value: float, step: int) -> None:
        if step == 2:
            raise OSError(28, "No space left on device")
        write(board, name, value, step)

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    assert train_tiny("x").result.steps == 3
    assert capsys.readouterr().err.count("tensorboard cannot be written (No space left on device)") == 1


def test_r22_a_terminal_that_is_closed_ends_no_run(
    tiny_words: Callable[..., list[str]], python: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    command, environment = python
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*command, "semiseg", "train", *tiny_words("x")],
        env=environment,
        stderr=writer,
        capture_output=False,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    assert "step 3/3  mIoU" in (tmp_path / "x" / "train.log").read_text()
