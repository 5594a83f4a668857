"""R6: asked to stop by a scheduler, a run saves, leaves with exit code 143, and continues to the very same end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import start_together  # tests/support
from torch import nn

from semiseg.api import TrainedRun
from semiseg.cli import main
from semiseg.data import Batch
from semiseg.engine import saving
from semiseg.engine.checkpoint import load_checkpoint, save_checkpoint
from semiseg.engine.evaluation import Evaluator
from semiseg.errors import RunStopped
from semiseg.methods.unimatch_v2 import UniMatchV2
from semiseg.models import Segmenter

TrainTiny = Callable[..., TrainedRun]
EndState = Callable[[Path], dict[str, torch.Tensor]]
LENGTHS = ("--schedule.steps", "7", "--evaluation.every", "1")


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def signal_in_step(monkeypatch: pytest.MonkeyPatch, number: int, at: int) -> None:
    step = UniMatchV2.step

    def signalled(self: UniMatchV2, student: nn.Module, teacher: Segmenter, batch: Batch) -> Any:
        if batch.place.step == at:
            signal.raise_signal(number)
        return step(self, student, teacher, batch)

    monkeypatch.setattr(UniMatchV2, "step", signalled)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_r06_a_signal_in_a_step_ends_the_run_after_it_and_nothing_is_lost(
    train_tiny: TrainTiny,
    train_once: TrainTiny,
    end_state: EndState,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
) -> None:
    whole = train_once(*LENGTHS)
    signal_in_step(monkeypatch, getattr(signal, name), at=4)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunStopped, match=rf"(?s)stopped by {name}; 5 of 7 steps are done.*--resume") as raised:
        train_tiny("x", *LENGTHS)
    assert raised.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before, "afterwards signals do what they did"
    checkpoint = load_checkpoint(tmp_path / "x" / "checkpoints", pytest.fail)
    assert checkpoint is not None
    assert checkpoint.step == 5
    monkeypatch.undo()
    assert same(end_state(train_tiny("x", *LENGTHS, resume=True).path), end_state(whole.path))


def test_r06_a_signal_in_an_evaluation_leaves_it_for_later(
    train_tiny: TrainTiny, train_once: TrainTiny, end_state: EndState, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_once(*LENGTHS)
    count = Evaluator._count

    def signalled(self: Evaluator, *given: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return count(self, *given)

    monkeypatch.setattr(Evaluator, "_count", signalled)
    with pytest.raises(RunStopped, match="3 of 7 steps"):
        train_tiny("x", *LENGTHS)
    monkeypatch.undo()
    run = train_tiny("x", *LENGTHS, resume=True)
    assert same(end_state(run.path), end_state(whole.path))
    assert run.result.best == whole.result.best


def test_r06_a_signal_in_a_save_does_not_spoil_it(
    train_tiny: TrainTiny, train_once: TrainTiny, end_state: EndState, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_once(*LENGTHS)

    def signalled(folder: Path, checkpoint: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        save_checkpoint(folder, checkpoint)

    monkeypatch.setattr(saving, "save_checkpoint", signalled)
    with pytest.raises(RunStopped, match="3 of 7 steps"):
        train_tiny("x", *LENGTHS)
    monkeypatch.undo()
    assert same(end_state(train_tiny("x", *LENGTHS, resume=True).path), end_state(whole.path))


def test_r06_resume_auto_begins_and_continues(
    tiny_words: Callable[..., list[str]],
    train_once: TrainTiny,
    end_state: EndState,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    whole = train_once(*LENGTHS)
    words = ["train", *tiny_words("x", *LENGTHS), "--resume", "auto"]
    signal_in_step(monkeypatch, signal.SIGTERM, at=3)
    assert main(words) == 143
    monkeypatch.undo()
    assert main(words) == 0
    assert same(end_state(tmp_path / "x"), end_state(whole.path))
    assert main(words) == 0, "a finished run has nothing left to do"


def wait_for(path: Path, words: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not (path.exists() and words in path.read_text()):
        assert time.monotonic() < end, f"{words!r} never came"
        time.sleep(0.05)


LONG = ("--schedule.steps", "100000", "--schedule.batch", "4", "--evaluation.every", "1000000")


@pytest.mark.parametrize("rank", [0, 1])
def test_r06_of_two_processes_any_may_be_told(
    tiny_words: Callable[..., list[str]], tmp_path: Path, free_port: Callable[[], str], rank: int
) -> None:
    said, program = tmp_path / "said", ["-m", "semiseg", "train"]
    ranks = start_together(program, tiny_words("x", *LONG), said, count=2, port=free_port())
    try:
        wait_for(said, "step 2/")
        began = time.monotonic()
        os.kill(ranks[rank].pid, signal.SIGTERM)
        wait_for(said, "steps are done and saved", 30)
        assert time.monotonic() - began < 10
        assert [each.wait(60) for each in ranks] == [143, 143]
    finally:
        for each in ranks:
            each.kill()
    assert load_checkpoint(tmp_path / "x" / "checkpoints", pytest.fail) is not None


def test_r06_of_two_processes_the_launcher_may_be_told(
    tiny_words: Callable[..., list[str]], launcher: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    run = launcher([], tiny_words("x", *LONG))

    def wait_until(words: str) -> None:
        assert run.stderr is not None
        said = ""
        while words not in said:
            said += run.stderr.readline()
            assert run.poll() is None or words in said, said

    wait_until("step 2/")
    began = time.monotonic()
    run.terminate()
    wait_until("steps are done and saved")
    assert time.monotonic() - began < 10
    run.communicate(timeout=60)
    assert load_checkpoint(tmp_path / "x" / "checkpoints", pytest.fail) is not None
