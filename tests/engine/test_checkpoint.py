from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from semiseg.errors import RunError

TraceFunction = Callable[[FrameType, str, Any], Any]


def checkpoint_of(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "student/weight": torch.randn(30, 20, generator=generator),
        "student/view": torch.randn(8, 6, generator=generator).t(),
        "student/scalar": torch.tensor(step, dtype=torch.float64),
        "teacher/half": torch.randn(5, generator=generator).bfloat16(),
        "meter/loss": torch.tensor(-0.0, dtype=torch.float64),
    }
    return Checkpoint(step, tensors, {"best": 0.1 + step, "best_step": step, "none": None})


def assert_equal(found: Checkpoint | None, expected: Checkpoint) -> None:
    assert found is not None
    assert (found.step, found.state) == (expected.step, expected.state)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor), name


def fail(message: str) -> None:
    raise AssertionError(f"nothing was damaged, but: {message}")


def names_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoints", checkpoint_of(7))
    assert_equal(load_checkpoint(tmp_path / "checkpoints", fail), checkpoint_of(7))


def test_a_part_is_what_lies_below_its_name() -> None:
    checkpoint = Checkpoint(0, {"student/a/b": torch.zeros(1), "students/a": torch.ones(1)}, {})
    assert checkpoint.part("student").keys() == {"a/b"}


def test_the_two_newest_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    for step in (8, 9, 10, 100):
        save_checkpoint(tmp_path, checkpoint_of(step))
    assert names_below(tmp_path) == ["step_00000010", "step_00000100"]
    assert names_below(tmp_path / "step_00000100") == ["manifest.json", "state.json", "tensors.safetensors"]
    assert_equal(load_checkpoint(tmp_path, fail), checkpoint_of(100))


def test_a_step_that_is_saved_again_replaces_what_was_there(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Checkpoint(3, {"a": torch.zeros(1)}, {"old": True}))
    save_checkpoint(tmp_path, checkpoint_of(3))
    assert_equal(load_checkpoint(tmp_path, fail), checkpoint_of(3))


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "missing", fail) is None
    (tmp_path / ".step_00000004.partial").mkdir()
    assert load_checkpoint(tmp_path, fail) is None, "what was never finished is not there"


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_gives_way_to_the_one_before_and_says_so(
    tmp_path: Path, name: str, share: float
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint_of(step))
    path = tmp_path / "step_00000002" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    said: list[str] = []
    assert_equal(load_checkpoint(tmp_path, said.append), checkpoint_of(1))
    assert len(said) == 1
    assert "step_00000002 is damaged" in said[0]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
def test_one_wrong_bit_anywhere_is_noticed(tmp_path: Path, name: str) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint_of(step))
    path = tmp_path / "step_00000002" / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [0, len(whole) - 1, *rng.integers(0, len(whole), 20)]:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        said: list[str] = []
        assert_equal(load_checkpoint(tmp_path, said.append), checkpoint_of(1))
        assert len(said) == 1


@pytest.mark.parametrize("manifest", ["{}", "[]", "null", "7"])
def test_a_manifest_that_vouches_for_nothing_is_damage(tmp_path: Path, manifest: str) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint_of(step))
    (tmp_path / "step_00000002" / "manifest.json").write_text(manifest)
    said: list[str] = []
    assert_equal(load_checkpoint(tmp_path, said.append), checkpoint_of(1))
    assert len(said) == 1


def test_a_missing_file_is_damage_too(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint_of(step))
    (tmp_path / "step_00000002" / "tensors.safetensors").unlink()
    said: list[str] = []
    assert_equal(load_checkpoint(tmp_path, said.append), checkpoint_of(1))
    assert len(said) == 1


def test_nothing_but_damage_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint_of(step))
        (tmp_path / f"step_{step:08d}" / "state.json").write_text("{")
    said: list[str] = []
    with pytest.raises(RunError, match="every checkpoint is damaged") as caught:
        load_checkpoint(tmp_path, said.append)
    assert "remedy" in str(caught.value)
    assert len(said) == 2


class Died(BaseException):
    """The process, at a line of the test's choosing."""


def save_until(last: int, folder: Path, checkpoint: Checkpoint) -> int:
    """Save, but die at the last line of Python, of ours or of the libraries; return how many lines were run."""
    lines = 0

    def count(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal lines
        lines += event == "line"
        if lines == last:
            raise Died
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        save_checkpoint(folder, checkpoint)
    except Died:
        assert lines == last
    finally:
        sys.settrace(before)
    return lines


def test_whatever_line_is_the_last_a_whole_checkpoint_is_there(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path / "whole", checkpoint_of(step))
    lines = save_until(sys.maxsize, tmp_path / "counted", checkpoint_of(3))
    seen = set()
    for last in range(1, lines + 100, 7):  # a few more: here the oldest is removed too
        folder = tmp_path / str(last)
        shutil.copytree(tmp_path / "whole", folder)
        save_until(last, folder, checkpoint_of(3))
        found = load_checkpoint(folder, fail)
        assert found is not None
        assert_equal(found, checkpoint_of(found.step))
        seen.add(found.step)
        shutil.rmtree(folder)
    assert seen == {2, 3}


# Rounds in one process, as starting Python takes longer than all of them: a child saves without end, its parent kills
# it at some moment and loads what is there.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

folder, random = Path(sys.argv[1]), random.Random(0)
last, drafts, notes = 0, 0, []
for round in range(12):
    child = os.fork()
    if child == 0:
        for step in range(last + 1, 10**6):
            save_checkpoint(folder, Checkpoint(step, {"a": torch.full((60_000,), float(step))}, {"value": step}))
    time.sleep(random.uniform(0.02, 0.15))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    drafts += any(path.name.startswith(".") for path in folder.iterdir())
    found = load_checkpoint(folder, notes.append)
    assert found is not None or last == 0, "a checkpoint that was there is gone"
    if found is not None:
        assert found.step >= last and found.state == {"value": found.step}
        assert torch.equal(found.tensors["a"], torch.full((60_000,), float(found.step)))
        last = found.step
print(json.dumps({"last": last, "drafts": drafts, "notes": notes}))
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["drafts"] > 0, "no kill fell into the writing: the test has not tested"
    assert found["last"] > 0
    assert found["notes"] == [], "a killed process leaves nothing that looks like a checkpoint and is none"


def network() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    groups = [{"params": list(model[0].parameters()), "lr": 1e-2}, {"params": list(model[2].parameters()), "lr": 1e-1}]
    return model, torch.optim.AdamW(groups, weight_decay=0.01, fused=True)


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[Tensor]:
    for step in steps:
        images = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        model(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return list(model.state_dict().values())


def test_an_optimizer_continues_bit_for_bit(tmp_path: Path) -> None:
    expected = learn(*network(), range(8))

    model, optimizer = network()
    learn(model, optimizer, range(4))
    tensors = {f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(optimizer).items()}
    tensors |= {f"student/{name}": tensor for name, tensor in model.state_dict().items()}
    save_checkpoint(tmp_path, Checkpoint(4, tensors, {}))

    model, optimizer = network()
    found = load_checkpoint(tmp_path, fail)
    assert found is not None
    model.load_state_dict(found.part("student"))
    restore_optimizer(optimizer, found.part("optimizer"))
    shutil.rmtree(tmp_path)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2, 1e-1]
    assert all(map(torch.equal, learn(model, optimizer, range(4, 8)), expected))

    model, optimizer = network()
    model.load_state_dict(found.part("student"))
    without = learn(model, optimizer, range(4, 8))
    assert not all(map(torch.equal, without, expected)), "the moments do not matter here: the test has not tested"
