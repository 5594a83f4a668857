"""R5: where the newest checkpoint is truncated or flipped, the one before it is taken, loudly."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semiseg.api import TrainedRun
from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from semiseg.errors import RunStopped
from semiseg.methods.unimatch_v2 import UniMatchV2

FILES = ["tensors.safetensors", "state.json", "manifest.json"]


@pytest.fixture
def two_checkpoints(tmp_path: Path) -> Path:
    """Return a folder with the checkpoints of steps 1 and 2."""
    for step in (1, 2):
        save_checkpoint(tmp_path, Checkpoint(step, {"a": torch.full((30, 20), float(step))}, {"value": step}))
    return tmp_path


def assert_falls_back(folder: Path) -> None:
    said: list[str] = []
    found = load_checkpoint(folder, said.append)
    assert found is not None
    assert (found.step, found.state) == (1, {"value": 1})
    assert torch.equal(found.tensors["a"], torch.ones(30, 20))
    assert len(said) == 1
    assert "step_00000002 is damaged" in said[0]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_r05_a_truncated_checkpoint_gives_way_to_the_one_before(two_checkpoints: Path, name: str, share: float) -> None:
    path = two_checkpoints / "step_00000002" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert_falls_back(two_checkpoints)


@pytest.mark.parametrize("name", FILES)
def test_r05_one_wrong_bit_anywhere_is_noticed(two_checkpoints: Path, name: str) -> None:
    path = two_checkpoints / "step_00000002" / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [0, len(whole) - 1, *rng.integers(0, len(whole), 20)]:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert_falls_back(two_checkpoints)


def test_r05_a_training_goes_on_from_the_checkpoint_before_the_damaged_one(
    train_tiny: Callable[..., TrainedRun],
    numbers: Callable[[Path], dict[tuple[int, str], float]],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
) -> None:
    words = ("x", "--schedule.steps", "13", "--schedule.checkpoint_every", "4", "--evaluation.every", "1")
    run = train_tiny(*words)
    expected, before = numbers(run.path), end_state(run.path)
    newest = sorted((run.path / "checkpoints").iterdir())[-1] / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    again = train_tiny(*words, resume=True)
    assert numbers(again.path) == expected
    assert [name for name, tensor in end_state(again.path).items() if not torch.equal(tensor, before[name])] == []
    log = (run.path / "train.log").read_text()
    assert "checkpoint step_00000013 is damaged" in log
    assert "resumed after step 12" in log


def test_r05_a_damaged_checkpoint_is_not_kept_in_place_of_a_whole_one(
    train_tiny: Callable[..., TrainedRun],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    words = ("--schedule.steps", "7", "--schedule.checkpoint_every", "3")
    expected = end_state(train_tiny("whole", *words).path)
    step, folder = UniMatchV2.step, tmp_path / "x" / "checkpoints"

    for last in (5, 6):  # after 3 and 5, of which 5 is damaged, 6 is damaged, too

        def stopped(self: UniMatchV2, student: Any, teacher: Any, batch: Any, last: int = last) -> Any:
            if batch.place.step == last - 1:
                signal.raise_signal(signal.SIGTERM)
            return step(self, student, teacher, batch)

        monkeypatch.setattr(UniMatchV2, "step", stopped)
        with pytest.raises(RunStopped):
            train_tiny("x", *words, resume=folder.exists())
        (folder / f"step_{last:08d}" / "tensors.safetensors").write_bytes(b"")
    monkeypatch.undo()
    found = end_state(train_tiny("x", *words, resume=True).path)
    assert "resumed after step 3\n" in (tmp_path / "x" / "train.log").read_text()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
