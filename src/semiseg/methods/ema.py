"""The teacher: an exponential moving average of the student."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from semiseg.models import Segmenter

Model = TypeVar("Model", bound=nn.Module)


def make_teacher(student: Model) -> Model:
    """Return a copy of the student that learns by averaging alone, in eval mode.

    An encoder that does not learn is not copied: the teacher has the student's own.
    """
    shared = [student.encoder] if isinstance(student, Segmenter) and student.config.trains == "decoder" else []
    return copy.deepcopy(student, {id(module): module for module in shared}).eval().requires_grad_(False)


def ema_decay(step: int, limit: float) -> float:
    """Return the decay after a step: min(1 - 1 / (step + 1), limit), so 0, a plain copy, after step 0."""
    return min(1 - 1 / (step + 1), limit)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Move parameters and buffers to `decay * teacher + (1 - decay) * student`, in a few launches for all of them.

    In fp32: at a decay of 0.996, an average in bf16 stands still. What both share stays as it is.
    """
    pairs = [(kept, new) for kept, new in zip(_tensors(teacher), _tensors(student), strict=True) if kept is not new]
    averaged = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([kept for kept, _ in averaged], [new for _, new in averaged], 1 - decay)
    for kept, new in pairs:
        if not kept.is_floating_point():
            kept.copy_(new)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
