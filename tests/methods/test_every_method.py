"""What every method must do; a new one inherits these tests by its line in the registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from semiseg.augment import StrongViewConfig
from semiseg.data import Batch, DataConfig, Division, PixelCounts, TrainStream, load_dataset
from semiseg.engine.precision import autocast
from semiseg.errors import ConfigError
from semiseg.methods import METHODS, ConsistencyConfig, MethodSettings, find_method, make_teacher
from semiseg.methods.fixmatch import FixMatchConfig
from semiseg.methods.unimatch_v2 import UniMatchV2Config
from semiseg.models import ModelConfig, Segmenter, build_segmenter

LEARNS = ConsistencyConfig(threshold=0.2)
"""A threshold that an untrained teacher reaches here and there."""

CASES = [(name, MethodSettings(consistency=LEARNS)) for name in METHODS]
CASES += [  # the published variants
    ("fixmatch", MethodSettings(consistency=LEARNS, fixmatch=FixMatchConfig(dropout="random"))),
    ("unimatch_v2", MethodSettings(consistency=LEARNS, unimatch_v2=UniMatchV2Config(dropout="none"))),
    ("unimatch_v2", MethodSettings(consistency=LEARNS, unimatch_v2=UniMatchV2Config(dropout="random"))),
    ("unimatch_v2", MethodSettings(consistency=LEARNS, unimatch_v2=UniMatchV2Config(dropout_at="classifier"))),
    ("unimatch_v2", MethodSettings(consistency=replace(LEARNS, teacher="student"))),
    ("unimatch_v2", MethodSettings(consistency=replace(LEARNS, weight=4.0))),
]


@pytest.fixture
def student() -> Segmenter:
    return build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), 6)


def batches(tiny_scenes: Path, name: str, accumulate: int = 1) -> list[Batch]:
    """Return the chunks of one step of 4 samples, with the pixel counts of all chunks."""
    method = METHODS[name]
    config = DataConfig(root=str(tiny_scenes), crop=32, scale=(0.4, 1.5))
    division = Division(labeled=4 * method.labeled_factor, unlabeled=4 if method.views else 0, accumulate=accumulate)
    stream = TrainStream(load_dataset(config), config, division, strong=StrongViewConfig(), views=method.views, seed=0)
    chunks = [stream[index] for index in range(accumulate)]
    pixels = PixelCounts.unstacked(sum((chunk.pixels.stacked() for chunk in chunks), torch.zeros(1)))
    return [replace(chunk, pixels=pixels) for chunk in chunks]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_step_teaches_the_student_and_nobody_else(
    name: str, settings: MethodSettings, bf16: bool, tiny_scenes: Path, student: Segmenter
) -> None:
    method = METHODS[name](settings, student.normalize, 255)
    teacher = make_teacher(student) if method.ema_teacher else student
    (batch,) = batches(tiny_scenes, name)
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


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_losses_and_gradients_do_not_depend_on_accumulation(
    name: str, settings: MethodSettings, tiny_scenes: Path, student: Segmenter
) -> None:
    method = METHODS[name](settings, student.normalize, 255)
    teacher = make_teacher(student) if method.ema_teacher else student
    sums, gradients = [], []
    for accumulate in (1, 2):
        student.zero_grad()
        results = [method.step(student.train(), teacher, batch) for batch in batches(tiny_scenes, name, accumulate)]
        sum(result.loss for result in results).backward()  # type: ignore[union-attr]
        logs = {key: sum(float(result.logs[key]) for result in results) for key in results[0].logs}
        sums.append(logs)
        gradients.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_without_a_valid_pixel_changes_nothing(name: str, tiny_scenes: Path, student: Segmenter) -> None:
    method = METHODS[name](MethodSettings(), student.normalize, 255)
    (batch,) = batches(tiny_scenes, name)
    batch.labeled.mask_BHW.fill_(255)
    if batch.unlabeled is not None:
        batch.unlabeled.ignore_BHW.fill_(True)
    batch = replace(batch, pixels=PixelCounts.unstacked(torch.zeros_like(batch.pixels.stacked())))
    result = method.step(student.train(), make_teacher(student), batch)
    result.loss.backward()
    assert result.loss.item() == 0
    assert not any(p.grad.any() for p in student.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.views])
def test_the_weight_and_the_threshold_act(name: str, tiny_scenes: Path, student: Segmenter) -> None:
    (batch,) = batches(tiny_scenes, name)

    def losses(consistency: ConsistencyConfig) -> tuple[float, float, float]:
        method = METHODS[name](MethodSettings(consistency=consistency), student.normalize, 255)
        result = method.step(student, make_teacher(student), batch)
        return result.loss.item(), float(result.logs["loss_x"]), float(result.logs["loss_s"])

    loss, loss_x, loss_s = losses(ConsistencyConfig(threshold=0.0, weight=1.0))
    assert loss == pytest.approx((loss_x + loss_s) / 2, rel=1e-6)
    heavy = losses(ConsistencyConfig(threshold=0.0, weight=4.0))
    assert heavy[0] == pytest.approx((loss_x + 4 * loss_s) / 2, rel=1e-6)
    strict = losses(ConsistencyConfig(threshold=1.1))
    assert strict[2] == 0


def test_unknown_method_names_the_closest() -> None:
    with pytest.raises(ConfigError, match="unimatch_v2"):
        find_method("unimatch-v2")
