"""Blocks that run twice learn what blocks that keep everything learn, bit for bit, and hold less."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semiseg.models import ModelConfig, Segmenter, build_segmenter, can_recompute, recompute
from semiseg.models.draws import draws_of
from semiseg.models.encoders import Encoder
from semiseg.models.encoders.plain import TimmEncoder


def student(encoder: str = "vit_nano") -> Segmenter:
    """Return a student of which each block drops something, if it is one of our own."""
    model = build_segmenter(ModelConfig(encoder=encoder, weights="random", features=8), num_classes=3)
    if encoder == "vit_nano":
        block: Any
        for block in model.encoder.blocks_in_order():
            block.mlp.append(nn.Dropout(0.3))
        model.draws = draws_of(model, seed=1)
    return model.train()


def learned(model: Segmenter, images_BTCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a loss and its gradients."""
    loss = model(images_BTCHW).square().mean()
    loss.backward()
    return loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("encoder", ["vit_nano", "efficientnet_lite0", "clip_nano"])
def test_losses_and_gradients_are_the_same_bits(encoder: str) -> None:
    plain, images_BTCHW = student(encoder), torch.randn(2, 1, 3, 32, 32)
    sparing = copy.deepcopy(plain)
    recompute(sparing.encoder)
    assert sparing.state_dict().keys() == plain.state_dict().keys()
    for _ in range(2):  # the draws of the second pass are others
        (loss, gradients), (its_loss, its_gradients) = learned(plain, images_BTCHW), learned(sparing, images_BTCHW)
        assert torch.equal(loss, its_loss)
        assert gradients.keys() == its_gradients.keys()
        assert all(torch.equal(gradient, its_gradients[name]) for name, gradient in gradients.items())


def test_less_is_held(peak_bytes: Callable[[Callable[[], object]], int]) -> None:
    images_BTCHW = torch.randn(2, 1, 3, 96, 96)
    held = []
    for sparing in (False, True):
        model = student()
        if sparing:
            recompute(model.encoder)
        held.append(peak_bytes(partial(learned, model, images_BTCHW)))
    assert held[1] < 0.7 * held[0]


def test_a_copy_runs_its_own_blocks() -> None:
    model, images_BTCHW = student(), torch.randn(1, 1, 3, 32, 32)
    recompute(model.encoder)
    teacher = copy.deepcopy(model).eval()
    with torch.no_grad():
        before = teacher(images_BTCHW)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(teacher(images_BTCHW), before)


def test_stochastic_depth_of_timm_is_drawn_once() -> None:
    options: dict[str, Any] = {"embed_dim": 32, "depth": 4, "num_heads": 2, "drop_path_rate": 0.5}
    plain: Encoder = TimmEncoder("vit_tiny_patch16_224", False, **options).train()
    sparing = copy.deepcopy(plain)
    recompute(sparing)
    found = []
    for encoder in (plain, sparing):
        torch.manual_seed(3)
        sum(level.square().mean() for level in encoder(torch.ones(8, 3, 32, 32))).backward()  # type: ignore[union-attr]
        found.append([p.grad for p in encoder.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 0
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("encoder", ["timm/resnet18.a1_in1k", "timm/efficientnet_b0"])
def test_batch_norms_are_not_counted_twice(encoder: str) -> None:
    assert not can_recompute(student(encoder).encoder)
