"""How long, how fast: the length of a run, the optimizer and the published learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from semiseg.errors import ConfigError
from semiseg.models import Segmenter


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW in two groups, encoder and decoder."""

    lr: float = 5e-6
    """Learning rate of the encoder (published for DINOv2; 1e-5 for other encoders)."""
    decoder_multiplier: float = 40.0
    """The decoder's learning rate is this many times the encoder's (published 40; 10 for other encoders)."""
    weight_decay: float = 0.01
    """Decoupled weight decay (published)."""
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
    """Steps between checkpoints. Default: after each epoch."""
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


def build_optimizer(model: Segmenter, config: OptimizerConfig, scale: float) -> torch.optim.AdamW:
    """Return AdamW over the encoder's and the decoder's trainable parameters, in this order.

    Args:
        model: the student.
        config: rates and decay.
        scale: factor on both learning rates, from `lr_scale`.
    """
    rates = (config.lr * scale, config.lr * config.decoder_multiplier * scale)
    parts = (model.encoder, model.decoder)
    groups = [
        {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate, "base_lr": rate}
        for part, rate in zip(parts, rates, strict=True)
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=config.weight_decay, fused=True)


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
