"""What every decoder is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn

LevelHook = Callable[[list[Tensor]], list[Tensor]]
"""What a method does to the four levels between encoder and decoder, in one forward pass; it may enlarge the batch."""

FeatureHook = Callable[[Tensor], Tensor]
"""What a method does to `features_BFHW` just before the classifier, in one forward pass; it may enlarge the batch."""


class Decoder(nn.Module):
    """What every decoder is: four levels in, logits out.

    Attributes:
        features: F, the channels just before the classifier.
        align_corners: whether corners stay corners when the segmenter enlarges the logits, as published.
    """

    features: int
    align_corners: ClassVar[bool] = True

    def forward(self, levels_BDHW: Sequence[Tensor], at_features: FeatureHook | None = None) -> Tensor:
        """Decode four levels.

        Args:
            levels_BDHW: four maps (B, D, h, w), shallow first.
            at_features: changes the features just before the classifier, or None.

        Returns:
            Logits (B, K, h, w) in float32, of whatever size the decoder ends with.
        """
        raise NotImplementedError
