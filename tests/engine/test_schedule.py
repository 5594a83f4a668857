from __future__ import annotations

import pytest
import torch
from torch import nn

from semiseg.engine.config import OptimizerConfig, ScheduleConfig
from semiseg.engine.schedule import build_optimizer, encoder_factor, lr_factor, lr_scale, set_lr
from semiseg.errors import ConfigError
from semiseg.models import ModelConfig, Segmenter, build_segmenter
from semiseg.models.config import Trains

# (1 - t / 10) ** 0.9 for t = 0, 0, 1, .. 8: the rate for t is set after step t, so the first two steps share one.
TENTHS = (1.0, 1.0, 0.909533, 0.818052, 0.725418, 0.631446, 0.535887, 0.438383, 0.338383, 0.234924)


def segmenter(trains: Trains = "all") -> Segmenter:
    config = ModelConfig(encoder="vit_nano", weights="random", trains=trains)
    return build_segmenter(config, num_classes=3)


def test_the_rate_falls_by_the_published_power_one_step_late() -> None:
    assert [lr_factor(step, 10) for step in range(10)] == pytest.approx(TENTHS, abs=1e-6)


def test_a_run_of_one_step_runs_at_the_full_rate() -> None:
    assert lr_factor(0, 1) == 1


def test_both_groups_follow_the_factor_from_their_own_base() -> None:
    optimizer = build_optimizer(segmenter(), OptimizerConfig(), scale=1.0)
    for factor in (0.5, 0.25):
        set_lr(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-6 * factor, 2e-4 * factor])


def test_the_encoders_rate_rises_after_a_frozen_start() -> None:
    assert [encoder_factor(step, 4) for step in range(8)] == [0, 0, 0, 0, 0.5, 1, 1, 1]
    assert [encoder_factor(step, 1) for step in range(3)] == [0, 1, 1]
    assert [encoder_factor(step, 0) for step in range(2)] == [1, 1]
    optimizer = build_optimizer(segmenter(), OptimizerConfig(), scale=1.0)
    set_lr(optimizer, 0.5, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-6 / 8, 1e-4])


def test_an_encoder_that_is_held_keeps_its_weights_and_averages_and_is_let_go() -> None:
    model = build_segmenter(ModelConfig(encoder="timm/test_resnet", weights="random", features=8), 3).train()
    learns = [p for p in model.parameters() if p.requires_grad]
    model.hold_encoder(True)
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    model.eval().train()
    model(torch.rand(2, 1, 3, 64, 64)).square().mean().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.encoder.state_dict().items())
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.decoder.parameters() if p.requires_grad)
    model.hold_encoder(False)
    assert [p for p in model.parameters() if p.requires_grad] == learns
    assert all(module.training for module in model.encoder.modules())


def test_two_groups_hold_every_trainable_parameter_once() -> None:
    model = segmenter()
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-3, decoder_multiplier=10, weight_decay=0.05), scale=0.5)
    encoder, decoder = optimizer.param_groups
    assert (encoder["lr"], decoder["lr"]) == pytest.approx((5e-4, 5e-3))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.05}
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
    assert {id(p) for p in encoder["params"]} == {id(p) for p in model.encoder.parameters()}
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_norms_can_be_spared_from_decay() -> None:
    model = segmenter()
    optimizer = build_optimizer(model, OptimizerConfig(weight_decay=0.05, decay_norms=False), scale=1.0)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0, 0.05]
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm | nn.GroupNorm)]
    spared = {id(p) for p in optimizer.param_groups[1]["params"]}
    assert spared == {id(p) for norm in norms for p in norm.parameters()}


def test_sgd_has_momentum_and_the_same_groups() -> None:
    config = OptimizerConfig(kind="sgd", lr=1e-3, decoder_multiplier=10, weight_decay=1e-4)
    optimizer = build_optimizer(segmenter(), config, scale=1.0)
    assert isinstance(optimizer, torch.optim.SGD)
    facts = [(group["momentum"], group["weight_decay"], group["lr"]) for group in optimizer.param_groups]
    assert facts == [(0.9, 1e-4, 1e-3), (0.9, 1e-4, 1e-2)]


def test_a_frozen_encoder_leaves_the_decoder_alone() -> None:
    model = segmenter("decoder")
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    optimizer = build_optimizer(model, OptimizerConfig(lr=1e-3, decoder_multiplier=10), scale=1.0)
    (group,) = optimizer.param_groups
    assert group["lr"] == pytest.approx(1e-2)
    model(torch.rand(1, 1, 3, 16, 16)).square().mean().backward()
    optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.encoder.state_dict().items())


def test_the_rates_scale_with_the_batch_unless_told_not_to() -> None:
    assert lr_scale(OptimizerConfig(lr_batch=16), 16) == 1
    assert lr_scale(OptimizerConfig(lr_batch=16), 4) == 0.25
    assert lr_scale(OptimizerConfig(lr_batch=0), 4) == 1


@pytest.mark.parametrize("name", ["epochs", "steps", "batch", "per_device", "checkpoint_every", "log_every"])
@pytest.mark.parametrize("value", [0, -1])
def test_lengths_and_sizes_below_one_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){name} is {value}.*schedule\.{name}"):
        ScheduleConfig(**{name: value})
