"""What every neck is."""

from __future__ import annotations

from torch import Tensor, nn


class Neck(nn.Module):
    """What every neck is: four levels in, four levels of the same shapes out."""

    def forward(self, levels_BDHW: list[Tensor]) -> list[Tensor]:
        """Change the levels as at test time; a method that trains a neck may call it in a way of its own."""
        raise NotImplementedError
