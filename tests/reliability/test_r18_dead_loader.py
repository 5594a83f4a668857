"""R18: where a loader process dies, others take over with the same draws; where they die again, the message says so."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from semiseg.api import TrainedRun
from semiseg.cli import main
from semiseg.data import TrainStream
from semiseg.methods.unimatch_v2 import UniMatchV2

LENGTHS = ("--schedule.steps", "13", "--data.workers", "1")


def test_r18_others_take_over_where_one_died(
    train_tiny: Callable[..., TrainedRun],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = train_tiny("whole", *LENGTHS)
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
