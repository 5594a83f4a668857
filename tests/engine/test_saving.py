from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from semiseg.engine import saving
from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from semiseg.engine.saving import CheckpointWriter
from semiseg.errors import FileError, RunError


def checkpoint_of(step: int) -> Checkpoint:
    return Checkpoint(step, {"a": torch.full((100,), float(step))}, {"value": step})


def newest(folder: Path) -> Checkpoint:
    found = load_checkpoint(folder, pytest.fail)
    assert found is not None
    return found


class SlowDisk:
    """Holds every save back until it is allowed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = threading.Event()
        monkeypatch.setattr(saving, "save_checkpoint", self._save)

    def _save(self, folder: Path, checkpoint: Any) -> None:
        assert self.allowed.wait(60)
        save_checkpoint(folder, checkpoint)


class FullDisk:
    """Fails each save."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = threading.Event()
        monkeypatch.setattr(saving, "save_checkpoint", self._save)

    def _save(self, folder: Path, checkpoint: Any) -> None:
        self.done.set()
        raise FileError("cannot write it (No space left on device)", where=folder, remedy="free space")


def test_training_goes_on_while_the_disk_is_slow_and_what_it_changes_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, live = SlowDisk(monkeypatch), checkpoint_of(1)
    with CheckpointWriter(tmp_path, pytest.fail) as writer:
        writer.save(live)
        live.tensors["a"].zero_()
        writer.check()
        assert load_checkpoint(tmp_path, pytest.fail) is None, "it was not held back: the test has not tested"
        disk.allowed.set()
        writer.wait()
        assert torch.equal(newest(tmp_path).tensors["a"], torch.ones(100))


def test_the_end_waits_for_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    with CheckpointWriter(tmp_path, pytest.fail) as writer:
        writer.save(checkpoint_of(1))
        threading.Timer(0.05, disk.allowed.set).start()
        writer.save(checkpoint_of(2))
    assert newest(tmp_path).step == 2
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step_00000001", "step_00000002"]


@pytest.mark.parametrize("call", ["check", "wait", "save", "end"])
def test_what_goes_wrong_is_raised_by_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    save_checkpoint(tmp_path, checkpoint_of(1))
    disk = FullDisk(monkeypatch)

    def run() -> None:
        with CheckpointWriter(tmp_path, pytest.fail) as writer:
            writer.save(checkpoint_of(2))
            assert disk.done.wait(60)
            while call == "check":
                writer.check()
            if call == "wait":
                writer.wait()
            if call == "save":
                writer.save(checkpoint_of(3))

    with pytest.raises(FileError, match="No space left"):
        run()
    assert newest(tmp_path).step == 1


def test_what_else_ends_the_training_is_what_it_ends_with_and_the_disk_is_spoken_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch)
    said: list[str] = []

    def run() -> None:
        with CheckpointWriter(tmp_path, said.append) as writer:
            writer.save(checkpoint_of(1))
            raise RunError("another fault", where="here", remedy="none")

    with pytest.raises(RunError, match="another"):
        run()
    assert len(said) == 1
    assert "No space left" in said[0]
