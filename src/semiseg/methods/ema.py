"""The teacher: an exponential moving average of the student."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def make_teacher(student: Model) -> Model:
    """Return a copy of the student that learns by averaging alone, in eval mode."""
    return copy.deepcopy(student).eval().requires_grad_(False)


def ema_decay(step: int, limit: float) -> float:
    """Return the decay after a step: min(1 - 1 / (step + 1), limit), so 0, a plain copy, after step 0."""
    return min(1 - 1 / (step + 1), limit)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Move parameters and buffers to `decay * teacher + (1 - decay) * student`, in a few launches for all of them.

    In fp32: at a decay of 0.996, an average in bf16 stands still.
    """
    averaged = [*teacher.parameters(), *(b for b in teacher.buffers() if b.is_floating_point())]
    current = [*student.parameters(), *(b for b in student.buffers() if b.is_floating_point())]
    torch._foreach_lerp_(averaged, current, 1 - decay)
    for kept, new in zip(teacher.buffers(), student.buffers(), strict=True):
        if not kept.is_floating_point():
            kept.copy_(new)
