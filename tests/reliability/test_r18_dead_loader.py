"""R18: where a loader process dies, others take over with the same draws; where they die again, the message says so."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from semiseg.api import TrainedRun
from semiseg.cli import main
from semiseg.data import TrainStream, workers
from semiseg.methods.unimatch_v2 import UniMatchV2

LENGTHS = ("--schedule.steps", "13", "--data.workers", "1")


def test_r18_others_take_over_where_one_died(
    train_tiny: Callable[..., TrainedRun],
    train_once: Callable[..., TrainedRun],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = train_once(*LENGTHS)
    step = UniMatchV2.step

    def deadly(self: UniMatchV2, student: Any, teacher: Any, batch: Any) -> Any:
        if batch.place.step in (2, 5):
            for worker in multiprocessing.active_children():
                worker.kill()
                worker.join()
        return step(self, student, teacher, batch)

    monkeypatch.setattr(UniMatchV2, "step", deadly)
    run = train_tiny("x", *LENGTHS)
    found, expected = end_state(run.path), end_state(whole.path)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert (run.path / "train.log").read_text().count("a loader process died before step") == 2


@pytest.mark.parametrize("again", [False, True])
def test_r18_others_take_over_where_one_hung_and_if_they_hang_too_the_message_says_so(
    tiny_words: Callable[..., list[str]],
    train_once: Callable[..., TrainedRun],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    again: bool,
) -> None:
    whole = train_once(*LENGTHS)
    read, trainer, marker = TrainStream.__getitem__, os.getpid(), tmp_path / "hung"

    def hanging(self: TrainStream, index: int) -> Any:
        if index == 2 and os.getpid() != trainer and (again or not marker.exists()):
            marker.touch()
            time.sleep(1000)
        return read(self, index)

    monkeypatch.setattr(TrainStream, "__getitem__", hanging)
    monkeypatch.setattr(workers, "_LOOK", 1)
    monkeypatch.setattr(workers, "_SILENCE", 2)
    assert main(["train", *tiny_words("x", *LENGTHS)]) == (2 if again else 0)
    assert not multiprocessing.active_children(), "who hangs is ended"
    log = (tmp_path / "x/train.log").read_text()
    assert log.count("a loader process hung before step 3; others take over") == 1
    if again:
        assert "error: the loader processes hung twice before step 3" in capsys.readouterr().err
        return
    found, expected = end_state(tmp_path / "x"), end_state(whole.path)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_r18_who_dies_again_ends_the_run_with_a_message(
    tiny_words: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, trainer = TrainStream.__getitem__, os.getpid()

    def deadly(self: TrainStream, index: int) -> Any:
        if index == 2 and os.getpid() != trainer:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    monkeypatch.setattr(TrainStream, "__getitem__", deadly)
    assert main(["train", *tiny_words("x", *LENGTHS)]) == 2
    said = capsys.readouterr().err
    assert "error: the loader processes died twice before step" in said
    assert "--data.workers" in said
    assert "Traceback" not in said
