"""What every method must do; a new one inherits these tests by its line in the registry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from students import COUPLED, STUDENTS

from semiseg.augment import StrongViewConfig
from semiseg.data import Batch, DataConfig, Division, PixelCounts, TrainStream, load_dataset
from semiseg.data.palette import default_palette
from semiseg.data.spec import DatasetSpec
from semiseg.engine.precision import autocast
from semiseg.errors import ConfigError, RunError
from semiseg.methods import (
    METHODS,
    ConsistencyConfig,
    Context,
    LossConfig,
    Method,
    SharedSettings,
    StepResult,
    find_method,
    make_teacher,
    register_method,
)
from semiseg.methods.fixmatch import FixMatch, FixMatchConfig
from semiseg.methods.semivl import SemiVLConfig
from semiseg.methods.unimatch_v2 import UniMatchV2Config
from semiseg.models import ModelConfig, Segmenter, build_segmenter

PUBLISHED = LossConfig()
LEARNS = ConsistencyConfig(threshold=0.2)
"""A threshold that an untrained teacher reaches here and there."""


@dataclass(frozen=True)
class Case:
    """A method and its settings."""

    name: str
    config: Any = None
    consistency: ConsistencyConfig = LEARNS
    loss: LossConfig = PUBLISHED
    evidence: bool = False

    def __str__(self) -> str:
        return self.name

    def student(self) -> Segmenter:
        config = STUDENTS.get(self.name, ModelConfig(encoder="vit_nano", weights="random"))
        return build_segmenter(replace(config, evidence=self.evidence), 6)

    def built(self, student: Segmenter) -> Method[Any]:
        method = METHODS[self.name]
        config = method.config_class() if self.config is None else self.config
        context = Context(
            spec=DatasetSpec(name="tiny", classes=tuple("abcdef"), palette=default_palette(6)),
            model=student.config,
            crop=32,
            seed=0,
            device=torch.device("cpu"),
            normalize=student.normalize,
        )
        return method(config, SharedSettings(consistency=self.consistency, loss=self.loss), context)

    def teacher(self, student: Segmenter, method: Method[Any]) -> Segmenter:
        return student if method.student_labels else make_teacher(student)

    def batches(self, scenes: Path, size: int = 4, accumulate: int = 1) -> list[Batch]:
        """Return the chunks of one step of `size` samples, with the pixel counts of all chunks."""
        method = METHODS[self.name]
        config = DataConfig(root=str(scenes), crop=32, scale=(0.4, 1.5))
        labeled, unlabeled = size * method.labeled_factor, size if method.learns_unlabeled else 0
        stream = TrainStream(
            load_dataset(config),
            config,
            Division(labeled=labeled, unlabeled=unlabeled, accumulate=accumulate),
            strong=StrongViewConfig(),
            views=method.views,
            seed=0,
            labeled_views=1,
            labeled_mixed=self.loss.view == "strong",
            second=method.second_unlabeled,
        )
        chunks = [stream[index] for index in range(accumulate)]
        pixels = PixelCounts.unstacked(sum((chunk.pixels.stacked() for chunk in chunks), torch.zeros(1)))
        return [replace(chunk, pixels=pixels) for chunk in chunks]


EVERY = [Case(name) for name in METHODS]
VARIANTS = [  # the published ones, and the switches
    Case("fixmatch", FixMatchConfig(dropout="random")),
    Case("unimatch_v2", UniMatchV2Config(dropout="none")),
    Case("unimatch_v2", UniMatchV2Config(dropout="random")),
    Case("unimatch_v2", UniMatchV2Config(dropout_at="classifier")),
    Case("unimatch_v2", consistency=replace(LEARNS, teacher="student")),
    Case("unimatch_v2", consistency=replace(LEARNS, weight=4.0)),
    Case("unimatch_v1", consistency=replace(LEARNS, teacher="ema")),
    Case("semivl", consistency=replace(LEARNS, pixels="by_confidence")),
    Case("unimatch_v2", consistency=replace(LEARNS, pixels="by_share")),
    Case("unimatch_v1", consistency=replace(LEARNS, class_thresholds=True, alignment=1.0)),
    Case("supervised", loss=LossConfig(view="strong")),
    Case("fixmatch", consistency=replace(LEARNS, threshold=0.05), evidence=True),
    Case("unimatch_v2", loss=LossConfig(view="strong")),
    Case("semivl", SemiVLConfig(guidance=0.0)),
]
LEARN_UNLABELED = [case for case in EVERY if METHODS[case.name].learns_unlabeled]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("case", EVERY + VARIANTS, ids=str)
def test_a_step_teaches_the_student_and_nobody_else(case: Case, bf16: bool, tiny_scenes: Path) -> None:
    student = case.student()
    method = case.built(student)
    teacher = case.teacher(student, method)
    (batch,) = case.batches(tiny_scenes)
    with autocast(bf16, torch.device("cpu")):
        result = method.step(student.train(), teacher, batch)
    result.loss.backward()
    assert result.loss.dtype == torch.float32
    assert torch.isfinite(result.loss)
    assert result.loss > 0
    missing = [key for key, p in student.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    if teacher is not student:
        assert all(p.grad is None for p in teacher.parameters())
    assert student.training
    for value in result.logs.values():
        assert value.ndim == 0
        assert not value.requires_grad


@pytest.mark.parametrize("case", [case for case in EVERY + VARIANTS if case.name not in COUPLED], ids=str)
def test_r12_losses_and_gradients_do_not_depend_on_accumulation(case: Case, tiny_scenes: Path) -> None:
    student = case.student()
    method = case.built(student)
    teacher = case.teacher(student, method)
    sums, gradients = [], []
    for accumulate in (1, 2):
        student.zero_grad()
        chunks = case.batches(tiny_scenes, accumulate=accumulate)
        results = [method.step(student.train(), teacher, chunk) for chunk in chunks]
        sum(result.loss for result in results).backward()  # type: ignore[union-attr]
        logs = {key: sum(float(result.logs[key]) for result in results) for key in results[0].logs}
        sums.append(logs)
        gradients.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_bf16_learns_what_fp32_learns(case: Case, tiny_scenes: Path) -> None:
    losses = []
    for bf16 in (False, True):
        student = case.student()
        method = case.built(student)
        (batch,) = case.batches(tiny_scenes)
        with autocast(bf16, torch.device("cpu")):
            losses.append(method.step(student.train(), case.teacher(student, method), batch).loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_a_batch_of_one_is_enough(case: Case, tiny_scenes: Path) -> None:
    student = case.student()
    method = case.built(student)
    (batch,) = case.batches(tiny_scenes, size=1)
    result = method.step(student.train(), case.teacher(student, method), batch)
    result.loss.backward()
    assert torch.isfinite(result.loss)


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_a_batch_without_a_valid_pixel_changes_nothing(case: Case, tiny_scenes: Path) -> None:
    student = case.student()
    method = case.built(student)
    (batch,) = case.batches(tiny_scenes)
    batch.labeled.mask_BHW.fill_(255)
    for unlabeled in (batch.unlabeled, batch.second):
        if unlabeled is not None:
            unlabeled.ignore_BHW.fill_(True)
    batch = replace(batch, pixels=PixelCounts.unstacked(torch.zeros_like(batch.pixels.stacked())))
    result = method.step(student.train(), case.teacher(student, method), batch)
    result.loss.backward()
    assert result.loss.item() == 0
    assert not any(p.grad.any() for p in student.parameters() if p.grad is not None)


def unguided(result: StepResult) -> float:
    """Return the loss without what is learned from others than labels and the teacher (SemiVL's guide)."""
    return result.loss.item() - float(result.logs.get("loss_g", 0))


@pytest.mark.parametrize("case", LEARN_UNLABELED, ids=str)
def test_the_weight_and_the_threshold_act(case: Case, tiny_scenes: Path) -> None:
    student = case.student()
    (batch,) = case.batches(tiny_scenes)

    def losses(consistency: ConsistencyConfig) -> tuple[float, float, float]:
        method = replace(case, consistency=consistency).built(student)
        result = method.step(student, case.teacher(student, method), batch)
        return unguided(result), float(result.logs["loss_x"]), float(result.logs["loss_s"])

    for weight in (1.0, 4.0):
        loss, loss_x, loss_s = losses(ConsistencyConfig(threshold=0.0, weight=weight))
        assert loss_s > 0
        assert loss == pytest.approx((loss_x + weight * loss_s) / 2, rel=1e-6)
    strict = losses(ConsistencyConfig(threshold=1.1))
    assert strict[2] == 0


@pytest.mark.parametrize("case", LEARN_UNLABELED, ids=str)
def test_without_a_confident_pixel_only_labels_teach(case: Case, tiny_scenes: Path) -> None:
    student = case.student()
    method = replace(case, consistency=ConsistencyConfig(threshold=1.1)).built(student)
    (batch,) = case.batches(tiny_scenes)
    result = method.step(student.train(), case.teacher(student, method), batch)
    result.loss.backward()
    assert unguided(result) == pytest.approx(float(result.logs["loss_x"]) / 2, rel=1e-6)
    assert result.logs["confident"] == 0
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_what_a_method_remembers_can_be_restored(case: Case, tiny_scenes: Path) -> None:
    student = case.student()
    method, other = case.built(student), case.built(student)
    (batch,) = case.batches(tiny_scenes)
    method.step(student.train(), case.teacher(student, method), batch)
    other.restore(method.state())
    assert other.state().keys() == method.state().keys()
    assert all(torch.equal(tensor, method.state()[name]) for name, tensor in other.state().items())


def test_a_state_that_the_method_does_not_have_is_refused() -> None:
    case = Case("supervised")
    with pytest.raises(RunError, match="Supervised does not have"):
        case.built(case.student()).restore({"queue": torch.zeros(1)})


def test_the_recipe_overrides_who_labels() -> None:
    def facts(**consistency: Any) -> tuple[bool, bool]:
        method = Case("fixmatch", consistency=ConsistencyConfig(**consistency)).built(Case("fixmatch").student())
        return method.student_labels, method.ema_teacher

    assert facts() == (False, True)
    assert facts(teacher="student") == (True, False)
    assert facts(teacher="student", average=True) == (True, True)


def test_unknown_method_names_the_closest() -> None:
    with pytest.raises(ConfigError, match="unimatch_v2"):
        find_method("unimatch-v2")


def test_a_name_is_given_to_one_method_only() -> None:
    register_method("fixmatch", FixMatch)
    with pytest.raises(ConfigError, match="there is a method 'supervised' already"):
        register_method("supervised", FixMatch)
