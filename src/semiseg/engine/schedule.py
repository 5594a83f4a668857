"""How long, how fast: the length of a run, the optimizer and the published learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from semiseg.errors import ConfigError
from semiseg.models import Segmenter
from semiseg.models.layers import FixedNorm

_NORMS = (nn.LayerNorm, nn.GroupNorm, _NormBase, FixedNorm)
"""`_NormBase`: all batch and instance norms."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer, in two groups: the encoder, and everything behind it."""

    kind: Literal["adamw", "sgd"] = "adamw"
    """AdamW (UniMatch V2, SemiVL), or SGD with momentum (UniMatch V1, AllSpark)."""
    lr: float = 5e-6
    """Learning rate of the encoder (published for DINOv2; 1e-5 for other encoders)."""
    decoder_multiplier: float = 40.0
    """The decoder's learning rate is this many times the encoder's (published 40; 10 for other encoders)."""
    weight_decay: float = 0.01
    """Weight decay, decoupled for `adamw` (published 0.01), L2 for `sgd` (published 1e-4)."""
    decay_norms: bool = True
    """Whether weight decay is for norms too, as published but for SemiVL."""
    momentum: float = 0.9
    """Momentum of `sgd` (published)."""
    lr_batch: int = 16
    """Global batch for which `lr` is stated; another batch scales both rates in proportion (the authors' advice).
    0 leaves them alone."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Length of a run and size of its steps.

    Raises:
        ConfigError: a number below 1.
    """

    epochs: int = 60
    """Passes over the unlabeled images (over the repeated labeled list in labeled-only training)."""
    steps: int | None = None
    """Length in optimizer steps; replaces `epochs`."""
    batch: int = 16
    """Global batch: labeled and unlabeled images of a step (labeled-only training doubles it, as published)."""
    per_device: int | None = None
    """Largest part of the batch that one device takes in one pass; the rest is accumulated. Default: all at once."""
    ema_decay: float = 0.996
    """Limit of the teacher's decay (published)."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; there is one before each evaluation. Default: an epoch, where `evaluation.every`
    counts epochs."""
    log_every: int = 10
    """Steps between lines in the log."""

    def __post_init__(self) -> None:
        """Refuse lengths and sizes below 1."""
        require_positive(self, "schedule", "epochs", "steps", "batch", "per_device", "checkpoint_every", "log_every")


def require_positive(config: object, room: str, *names: str) -> None:
    """Check that fields are at least 1, or None.

    Args:
        config: the dataclass.
        room: its key in the whole configuration.
        *names: the fields.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(
                f"{name} is {value}", where=f"{room}.{name}", expected="1 or more", remedy="correct the number"
            )


def build_optimizer(model: Segmenter, config: OptimizerConfig, scale: float) -> torch.optim.Optimizer:
    """Return the optimizer of the model's trainable parameters: the encoder's first, then those of neck and decoder.

    Args:
        model: the student.
        config: kind, rates and decay.
        scale: factor on both learning rates, from `lr_scale`.
    """
    spared = set() if config.decay_norms else _of_norms(model)
    groups = []
    for in_encoder, rate in ((True, config.lr * scale), (False, config.lr * config.decoder_multiplier * scale)):
        part = [
            (name, parameter)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name.startswith("encoder.") == in_encoder
        ]
        for decay, names in ((config.weight_decay, False), (0.0, True)):
            parameters = [parameter for name, parameter in part if (name in spared) == names]
            groups.append({"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay})
    groups = [group for group in groups if group["params"]]
    if config.kind == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)


def _of_norms(model: Segmenter) -> set[str]:
    """Return the names of the weights and biases of all norms."""
    return {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, _NORMS)
        for own, _ in module.named_parameters(recurse=False)
    }


def lr_scale(config: OptimizerConfig, batch: int) -> float:
    """Return the factor on the learning rates for a global batch."""
    return batch / config.lr_batch if config.lr_batch else 1.0


def lr_factor(step: int, steps: int) -> float:
    """Return the factor on the learning rate in effect during a step, from 0.

    The published code sets the rate for t *after* step t, so steps 0 and 1 both run at the full rate.
    """
    return float((1 - max(step - 1, 0) / steps) ** 0.9)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its base rate times the factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
