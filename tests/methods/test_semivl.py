"""SemiVL's step against its formula; what it shares with UniMatch V1 is tested there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.augment import StrongViewConfig, cutmix
from semiseg.data import Batch, DataConfig, Division, TrainStream, load_dataset
from semiseg.data.palette import default_palette
from semiseg.data.spec import DatasetSpec
from semiseg.errors import ConfigError
from semiseg.methods import ConsistencyConfig, Context, SharedSettings
from semiseg.methods.semivl import SemiVL, SemiVLConfig
from semiseg.methods.streams import forward_streams
from semiseg.models import ModelConfig, Segmenter, build_segmenter

SPEC = DatasetSpec(name="tiny", classes=tuple("abcdef"), palette=default_palette(6), concepts={"a": ("x", "y")})


@pytest.fixture
def student() -> Segmenter:
    return build_segmenter(ModelConfig(encoder="clip_nano", decoder="semivl", weights="random"), 6)


@pytest.fixture
def batch(tiny_scenes: Path) -> Batch:
    config = DataConfig(root=str(tiny_scenes), crop=32, scale=(0.4, 1.5))
    division = Division(labeled=3, unlabeled=3)
    return TrainStream(
        load_dataset(config), config, division, strong=StrongViewConfig(), views=2, seed=0, steps=10, second=True
    )[0]


def built(student: Segmenter, spec: DatasetSpec = SPEC, **settings: Any) -> SemiVL:
    shared = SharedSettings(consistency=ConsistencyConfig(threshold=0.2))
    context = Context(
        spec=spec, model=student.config, crop=32, seed=0, device=torch.device("cpu"), normalize=student.normalize
    )
    return SemiVL(SemiVLConfig(**settings), shared, context)


def at_step(batch: Batch, step: int) -> Batch:
    """Let it be the time of another step, of 10, with the draws of the first."""
    return replace(batch, place=replace(batch.place, step=step))


def guided(method: SemiVL, student: Segmenter, batch: Batch) -> tuple[float, float]:
    """Return the step's loss and what of it is guidance."""
    torch.manual_seed(0)
    result = method.step(student.train(), student, batch)
    return result.loss.item(), float(result.logs.get("loss_g", 0))


def test_the_guidance_adds_the_loss_against_the_labels_of_clip(student: Segmenter, batch: Batch) -> None:
    method = built(student, guidance=0.3, guidance_threshold=0.5)
    assert batch.unlabeled is not None
    assert batch.second is not None
    seen = forward_streams(student.train(), student, batch, student.normalize, student_labels=True)
    labels = []
    for crops in (batch.unlabeled, batch.second):
        assert method.guide is not None
        pseudo = method.guide.label(student.normalize(crops.images_BTCHW), crops.ignore_BHW)
        labels.append(torch.where(pseudo.confident(0.5), pseudo.label_BHW, 255))
    own, pasted = labels

    def loss(logits_BKHW: Tensor, label_BHW: Tensor) -> Tensor:
        return F.cross_entropy(logits_BKHW, label_BHW, ignore_index=255, reduction="sum") / label_BHW.numel()

    expected = loss(seen.features.logits_BKHW, own) / 2
    for stream, draws in zip(seen.strong, batch.unlabeled.views, strict=True):
        expected = expected + loss(stream.logits_BKHW, cutmix(own, draws.box_B4, pasted)) / 4
    assert 0 < len(own[own != 255]) < own.numel()
    assert guided(method, student, batch)[1] == pytest.approx(0.3 * expected.item(), rel=1e-5)


def test_its_weight_falls_linearly_to_nothing_and_the_rest_is_as_without_it(student: Segmenter, batch: Batch) -> None:
    assert batch.place.steps == 10
    without, nothing = guided(built(student, guidance=0.0), student, batch)
    assert nothing == 0
    first, fifth, last = (guided(built(student), student, at_step(batch, step)) for step in (0, 5, 10))
    assert first[0] - first[1] == pytest.approx(without, rel=1e-5)
    assert fifth[1] == pytest.approx(first[1] / 2, rel=0.2)  # other channels are dropped in another step
    assert last[1] == 0


def test_pairs_are_refused(student: Segmenter) -> None:
    with pytest.raises(ConfigError, match="semivl has no word for a change"):
        built(student, replace(SPEC, frames=("A", "B")))
