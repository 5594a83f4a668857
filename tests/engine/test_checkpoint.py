from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from semiseg.errors import RunError


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
    (tmp_path / ".draft-7-0.part").mkdir()
    assert load_checkpoint(tmp_path, fail) is None, "what was never finished is not there"


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


def network() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 2)).to(memory_format=torch.channels_last)
    groups = [{"params": list(model[0].parameters()), "lr": 1e-2}, {"params": list(model[2].parameters()), "lr": 1e-1}]
    return model, torch.optim.AdamW(groups, weight_decay=0.01, fused=True)


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[Tensor]:
    for step in steps:
        images = torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        model(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return list(model.state_dict().values())


def test_an_optimizer_continues_bit_for_bit(tmp_path: Path) -> None:
    """Of weights that lie channels last too, while the file holds plain tensors."""
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
