"""R9: a step that is not finite, in any process, leaves no trace in any of them; many in a row stop the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from semiseg.api import TrainedRun
from semiseg.data import Batch
from semiseg.engine.distributed import Processes
from semiseg.engine.guard import PATIENCE, Guard
from semiseg.errors import RunError
from semiseg.methods import StepResult
from semiseg.methods.unimatch_v2 import UniMatchV2
from semiseg.models import ModelConfig, Segmenter, build_segmenter

TrainTiny = Callable[..., TrainedRun]
ALONE = Processes(0, 1, torch.device("cpu"))


class Remembering:
    """What the guard asks of a method: its memory."""

    def __init__(self) -> None:
        self.memory = torch.zeros(2)

    def state(self) -> dict[str, torch.Tensor]:
        return {"memory": self.memory}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        self.memory = tensors["memory"]


def poison(monkeypatch: pytest.MonkeyPatch, steps: range, value: float = float("nan")) -> None:
    step = UniMatchV2.step

    def poisoned(self: UniMatchV2, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        result = step(self, student, teacher, batch)
        factor = value if batch.place.step in steps else 1.0
        return StepResult(result.loss * factor, result.logs)

    monkeypatch.setattr(UniMatchV2, "step", poisoned)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_r09_a_bad_step_changes_nothing(kind: str, value: float) -> None:
    model = build_segmenter(ModelConfig(encoder="timm/resnet18.a1_in1k", weights="random", features=8), 3).train()
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        if kind == "adamw"
        else torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    )
    method: Any = Remembering()
    guard = Guard(model, optimizer, method, ALONE)
    images = torch.randn(2, 1, 3, 64, 64)

    def step(factor: float) -> bool:
        guard.remember()
        method.memory = method.memory + factor
        loss = (model(images * factor) * factor).square().mean()
        loss.backward()
        bad = guard.judge(loss, ("a", "b"))
        guard.step(bad)
        return bool(bad)

    assert not step(1.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)}
    slots = [{k: torch.as_tensor(v).clone() for k, v in slot.items()} for slot in optimizer.state.values()]
    assert step(value)
    after = model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    for mine, kept in zip(optimizer.state.values(), slots, strict=True):
        assert all(torch.equal(torch.as_tensor(mine[name]), kept[name]) for name in kept)
    assert method.memory.tolist() == [1.0, 1.0]
    assert guard.in_a_row == 1
    assert not step(1.0)
    assert guard.in_a_row == 0
    assert any(not torch.equal(before[name], model.state_dict()[name]) for name in before)


def test_r09_skipped_steps_are_counted_and_do_not_spoil_the_means(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, range(2, 4))
    run = train_tiny("x", "--schedule.steps", "6", "--schedule.log_every", "6")
    rows = [line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines()]
    found = {row[2]: float(row[3]) for row in rows[1:] if row[0] == "6"}
    assert found["train/skipped"] == 2
    assert 0 < found["train/loss"] < 10
    assert "2 steps up to step 6 skipped: loss or gradient not finite" in (run.path / "train.log").read_text()
    newest = sorted((run.path / "checkpoints").glob("step_*"))[-1]
    assert all(tensor.isfinite().all() for tensor in load_file(newest / "tensors.safetensors").values())


def test_r09_many_in_a_row_stop_the_run_and_its_remedy_is_accepted(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("x", "--schedule.steps", "40", "--schedule.checkpoint_every", "2")
    poison(monkeypatch, range(5, 40))
    with pytest.raises(RunError, match=rf"(?s)not finite in {PATIENCE} steps in a row.*samples of the last step: \w+"):
        train_tiny(*words)
    checkpoints = sorted((tmp_path / "x" / "checkpoints").glob("step_*"))
    assert [json.loads((path / "state.json").read_text())["step"] for path in checkpoints] == [2, 4]
    monkeypatch.undo()
    run = train_tiny(*words, "--optimizer.lr", "1e-4", resume=True)
    assert run.result.steps == 40
    assert (
        "changed with this resume: optimizer.lr: 0.001 in the run, 0.0001 now" in (run.path / "train.log").read_text()
    )
    assert "lr: 0.0001" in (run.path / "config.yaml").read_text()


POISONED = """
import sys
import torch
from semiseg.engine.guard import Guard
from semiseg.cli import main

judge = Guard.judge
steps = iter(range(100))


def poisoned(self, loss, samples):
    if self.processes.rank == 1 and next(steps) == 2:
        loss = loss * float("nan")
    return judge(self, loss, samples)


Guard.judge = poisoned
sys.exit(main(["train", *sys.argv[1:]]))
"""


def test_r09_a_bad_loss_in_one_process_is_skipped_by_all(
    tiny_words: Callable[..., list[str]],
    launch_two: Callable[..., str],
    numbers: Callable[[Path], dict[tuple[int, str], float]],
    tmp_path: Path,
) -> None:
    script = tmp_path / "poisoned.py"
    script.write_text(POISONED)
    said = launch_two([str(script)], tiny_words("x", "--schedule.steps", "5", "--schedule.batch", "4"))
    found = numbers(tmp_path / "x")
    assert [step for step in range(1, 6) if (step, "train/skipped") in found] == [3]
    assert "1 steps up to step 3 skipped" in said
