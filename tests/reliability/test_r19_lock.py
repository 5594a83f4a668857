"""R19: of two processes that would train in one run directory, the second is refused and does no harm."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from semiseg.api import TrainedRun
from semiseg.cli import main
from semiseg.engine.rundir import RunDirectory
from semiseg.engine.runlock import hold_run
from semiseg.errors import RunError

Words = Callable[..., list[str]]

LONG = ("--schedule.steps", "400", "--schedule.checkpoint_every", "2", "--data.workers", "1")


@contextmanager
def training(words: list[str], python: tuple[list[str], dict[str, str]], run: Path) -> Iterator[subprocess.Popen[str]]:
    """Train in a process of its own, which has saved a checkpoint when the block begins and is killed when it ends."""
    command, environment = python
    process = subprocess.Popen(
        [*command, "semiseg", "train", *words], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not list((run / "checkpoints").glob("step_*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_r19_a_second_process_is_refused_and_the_first_goes_on(
    tiny_words: Words,
    python: tuple[list[str], dict[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "x"
    with training(tiny_words("x", *LONG), python, run) as process:
        for again in (["--resume"], []):
            assert main(["train", *tiny_words("x", *LONG), *again]) == 2
        said = capsys.readouterr().err
        assert f"another process trains in this run: process {process.pid} on {socket.gethostname()}, since 2" in said
        assert "--run.name" in said
        assert "the run directory is not empty" in said
        assert process.poll() is None
        metrics = (run / "metrics.csv").stat().st_size
        time.sleep(1)
        assert (run / "metrics.csv").stat().st_size > metrics, "the first one goes on"
    with hold_run(RunDirectory(run), resume=True, warn=pytest.fail):
        pass  # the lock went with it


HOLDER = """
import os, signal, sys, time
from pathlib import Path
from semiseg.engine.rundir import RunDirectory
from semiseg.engine.runlock import hold_run

with hold_run(RunDirectory(Path(sys.argv[1])), resume=False, warn=print):
    if os.fork() == 0:
        time.sleep(60)  # a loader that survives its parent
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Return a process that holds the lock of `tmp_path / "x"`, with a child of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "x")], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_r19_the_lock_of_a_dead_process_is_none_even_if_its_children_live(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    directory = RunDirectory(tmp_path / "x")
    refused = pytest.raises(RunError, match=f"process {holder.pid} on")
    with refused, hold_run(directory, resume=False, warn=pytest.fail):
        pytest.fail("held twice")
    holder.kill()
    holder.wait()
    with hold_run(directory, resume=False, warn=pytest.fail):
        assert f"process {os.getpid()} on" in directory.lock.read_text()
    with hold_run(directory, resume=False, warn=pytest.fail):
        pass


def test_r19_a_disk_without_locks_costs_a_warning_and_no_run(
    train_tiny: Callable[..., TrainedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", missing)
    run = train_tiny("x")
    assert run.result.steps == 3
    assert "the run cannot be locked" in (run.path / "train.log").read_text()


def test_r19_a_run_that_was_killed_before_it_began_can_begin(
    train_tiny: Callable[..., TrainedRun], tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".lock").touch()
    (tmp_path / "x" / "environment.json").write_text("{}")
    assert train_tiny("x").result.steps == 3


def test_r19_training_needs_no_lock_to_be_read(train_tiny: Callable[..., TrainedRun]) -> None:
    run = train_tiny("x")
    with hold_run(RunDirectory(run.path), resume=True, warn=pytest.fail):
        assert main(["report", str(run.path)]) == 0
        assert main(["evaluate", str(run.path), "--device", "cpu"]) == 0
