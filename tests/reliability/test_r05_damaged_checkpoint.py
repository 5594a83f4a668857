"""R5: where the newest checkpoint is truncated or flipped, the one before it is taken, loudly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from semiseg.api import TrainedRun
from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

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
def test_a_truncated_checkpoint_gives_way_to_the_one_before(two_checkpoints: Path, name: str, share: float) -> None:
    path = two_checkpoints / "step_00000002" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert_falls_back(two_checkpoints)


@pytest.mark.parametrize("name", FILES)
def test_one_wrong_bit_anywhere_is_noticed(two_checkpoints: Path, name: str) -> None:
    path = two_checkpoints / "step_00000002" / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [0, len(whole) - 1, *rng.integers(0, len(whole), 20)]:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert_falls_back(two_checkpoints)


def test_a_training_goes_on_from_the_checkpoint_before_the_damaged_one(
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
