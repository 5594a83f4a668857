"""Activation checkpointing (arXiv 1604.06174): blocks keep what goes into them, and run again for their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm  # what all of them share, SyncBatchNorm too
from torch.utils.checkpoint import checkpoint

from semiseg.models.encoders import Encoder


class _Recomputing(nn.Module):
    """Comes before the class of a block, so that the block stays what it is: its keys, its parts, its copies."""

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run the block; in training with what it draws kept, so that it draws the same the second time."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*inputs, **options)
        return checkpoint(super().forward, *inputs, use_reentrant=False, **options)


def can_recompute(encoder: Encoder) -> bool:
    """Whether the blocks of an encoder may run twice: if it has any, and no batch norm would count a batch twice."""
    blocks = encoder.blocks_in_order()
    return bool(blocks) and not any(isinstance(module, BatchNorm) for block in blocks for module in block.modules())


def recompute(encoder: Encoder) -> None:
    """Let the blocks of an encoder run again in the backward pass, in place: less memory, the same gradients."""
    for block in encoder.blocks_in_order():
        kind = type(block)
        twice: Any = type(kind.__name__, (_Recomputing, kind), {"__module__": kind.__module__})
        block.__class__ = twice
