"""How long, how fast: the length of a run, the optimizer and the published learning-rate schedule."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from semiseg.engine.config import OptimizerConfig
from semiseg.models import Segmenter
from semiseg.models.folding import FixedNorm

_NORMS = (nn.LayerNorm, nn.GroupNorm, _NormBase, FixedNorm)
"""`_NormBase`: all batch and instance norms."""


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
            groups.append(
                {"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay, "in_encoder": in_encoder}
            )
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


def frozen_steps(config: OptimizerConfig, steps: int) -> int:
    """Return in how many of all steps, from the first, the encoder stands still."""
    return round(config.frozen_start * steps)


def encoder_factor(step: int, frozen: int) -> float:
    """Return the further factor on the encoder's rate during a step, from 0, where the first steps leave it alone.

    Then it rises linearly within half as many steps: the optimizer knows nothing of these gradients yet.
    """
    return min(1.0, max(0, step - frozen + 1) / max(1, frozen // 2))


def set_lr(optimizer: torch.optim.Optimizer, factor: float, of_encoder: float = 1.0) -> None:
    """Set every group's rate to its base rate times the factor, and the encoder's times a further one."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor * (of_encoder if group["in_encoder"] else 1.0)
