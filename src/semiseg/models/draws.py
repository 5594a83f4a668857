"""What layers draw in training (dropout, stochastic depth), counted like all randomness here."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd as Dropout  # what all of them share, Dropout2d too

from semiseg.seeding import counted


class Draws(nn.Module):
    """Makes what a pass draws a function of (seed, passes before, process).

    The number of passes is in the state dict: a resumed run goes on with the draws that it would have made.

    Args:
        seed: the model's seed.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed, self.passes = seed, 0

    def next_pass(self, device: torch.device) -> AbstractContextManager[None]:
        """Let torch's global generators draw for the next training pass, and afterwards be as they were."""
        rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        self.passes += 1
        return counted(self.seed, "layers", self.passes - 1, rank, device=device)

    def get_extra_state(self) -> Tensor:
        """Return the number of passes, for the state dict."""
        return torch.tensor(self.passes)

    def set_extra_state(self, state: Tensor) -> None:
        """Undo `get_extra_state`."""
        self.passes = int(state)


def draws_of(model: nn.Module, seed: int) -> Draws | None:
    """Return what counts the draws of a model, None if no layer of it draws."""
    chances = (
        layer.p if isinstance(layer, Dropout) else layer.drop_prob or 0.0
        for layer in model.modules()
        if isinstance(layer, Dropout | DropPath)
    )
    return Draws(seed) if any(chance > 0 for chance in chances) else None
