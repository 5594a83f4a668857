"""A method from outside the package: one class, registered, with settings and a memory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import semiseg
from semiseg.api import TrainedRun
from semiseg.config import config_class
from semiseg.data import Batch
from semiseg.errors import ConfigError
from semiseg.methods import METHODS, Context, Method, SharedSettings, StepResult, registry
from semiseg.methods.consistency import pseudo_label
from semiseg.methods.losses import labeled_loss
from semiseg.models import Segmenter

TrainTiny = Callable[..., TrainedRun]


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Settings of the toy."""

    weight: float = 0.5
    """How much the weak views weigh, 0 or more."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ConfigError(f"weight is {self.weight}", where="toy.weight", remedy="give 0 or more")


class Toy(Method[ToyConfig]):
    """Learn the teacher's labels of weak views, weighted by a memory of how confident it has been."""

    config_class = ToyConfig
    views = 1

    def __init__(self, config: ToyConfig, shared: SharedSettings, context: Context) -> None:
        super().__init__(config, shared, context)
        self.memory = torch.zeros(1, device=context.device)
        self.times: list[float] = []

    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        assert batch.unlabeled is not None
        weak_BTCHW = self.normalize(batch.unlabeled.images_BTCHW)
        pseudo = pseudo_label(teacher, weak_BTCHW, batch.unlabeled.ignore_BHW)
        confidence = self.context.gather(pseudo.confidence_BHW.mean()[None]).mean()
        self.memory = 0.5 * self.memory + 0.5 * confidence
        loss_x = labeled_loss(
            student(self.normalize(batch.labeled.images_BTCHW)), batch, self.shared.loss, self.ignore_value
        )
        loss_u = nn.functional.cross_entropy(student(weak_BTCHW), pseudo.label_BHW)
        fading = 1 - batch.place.step / batch.place.steps
        loss = loss_x + self.config.weight * fading * self.memory.squeeze() * loss_u
        return StepResult(loss, {"loss_x": loss_x.detach(), "memory": self.memory.squeeze()})

    def state(self) -> dict[str, Tensor]:
        return {"memory": self.memory}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.memory = tensors["memory"].to(self.context.device)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    semiseg.register_method("toy", Toy)
    yield
    del METHODS["toy"]


def tensors(run: TrainedRun) -> dict[str, Tensor]:
    return load_file(sorted((run.path / "checkpoints").iterdir())[-1] / "tensors.safetensors")


def test_the_registry_knows_the_settings_of_every_method_before_it_is_imported() -> None:
    known = registry._Methods().settings()
    assert known == {name: METHODS[name].config_class for name in known}


def test_it_trains_with_its_settings_remembers_and_evaluates(train_tiny: TrainTiny) -> None:
    run = train_tiny("toy", "--method", "toy", "--toy.weight", "2")
    assert run.result.steps == 3
    assert "weight: 2" in (run.path / "config.yaml").read_text()
    assert tensors(run)["method/memory"] > 0
    assert semiseg.evaluate(run.path, device="cpu").miou == run.result.best


def test_it_resumes_as_if_nothing_had_happened(train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--method", "toy", "--schedule.steps", "6", "--schedule.checkpoint_every", "2")
    whole = train_tiny("whole", *words)
    step = Toy.step

    def interrupted(self: Toy, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        if batch.place.step == 5:
            raise KeyboardInterrupt
        return step(self, student, teacher, batch)

    monkeypatch.setattr(Toy, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_tiny("cut", *words)
    monkeypatch.undo()
    resumed = tensors(train_tiny("cut", *words, resume=True))
    assert resumed.keys() == tensors(whole).keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in tensors(whole).items())


def test_its_settings_are_checked_like_any(train_tiny: TrainTiny, tmp_path: Path) -> None:
    assert "toy" in {field.name for field in config_class().__dataclass_fields__.values()}
    for words, message in (
        (("--toy.weigth", "1"), "did you mean '--toy.weight'"),
        (("--toy.weight", "much"), "toy.weight"),
        (("--toy.weight", "-1"), "give 0 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_tiny("toy", "--method", "toy", *words)
    assert not (tmp_path / "toy").exists()
