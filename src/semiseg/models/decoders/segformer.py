"""The decoder of SegFormer (arXiv 2105.15203, section 3.2) as AllSpark runs it."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models.config import MAX_CHANNELS, ModelConfig
from semiseg.models.decoders.base import Decoder, FeatureHook
from semiseg.models.encoders import Encoder
from semiseg.models.layers import in_float32, resize_bilinear

FEATURES = 768
"""Channels F of the published decoder."""
DROPPED = 0.1
"""Share of the channels that training drops before the classifier."""


class SegFormer(Decoder):
    """A projection of each level, all enlarged to the finest one and mixed by one 1x1 convolution.

    Args:
        widths: channels D of the encoder's levels, shallow first.
        features: channels F.
        num_classes: K.
    """

    align_corners = False

    def __init__(self, widths: Sequence[int], features: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.project = nn.ModuleList(nn.Conv2d(width, features, kernel_size=1) for width in widths)
        self.mix = nn.Conv2d(features * len(widths), features, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(features)
        self.dropout = nn.Dropout2d(DROPPED)
        self.classifier = nn.Conv2d(features, num_classes, kernel_size=1)
        nn.init.kaiming_normal_(self.mix.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, levels_BDHW: Sequence[Tensor], at_features: FeatureHook | None = None) -> Tensor:
        """Decode as every `Decoder`, to logits of the finest level's size."""
        features_BFHW = self.dropout(F.relu(self.norm(self._mixed(levels_BDHW)), inplace=True))
        if at_features is not None:
            features_BFHW = at_features(features_BFHW)
        return in_float32(self.classifier, features_BFHW)

    def _mixed(self, levels_BDHW: Sequence[Tensor]) -> Tensor:
        """Project, enlarge, concatenate (deep first) and convolve, (B, F, h, w)."""
        # A 1x1 convolution of concatenated maps is the sum of one of each map, and it may go before the enlargement:
        # both are linear and act on different axes. Equal up to rounding, at a third of the cost, and the four maps of
        # F channels never stand side by side. So each level is added to the deeper ones.
        mixed = [
            F.conv2d(project(level), weight)
            for level, project, weight in zip(
                levels_BDHW, self.project, reversed(self.mix.weight.chunk(len(levels_BDHW), dim=1)), strict=True
            )
        ]
        finest, *coarser = mixed
        height, width = finest.shape[2:]
        for map_BFHW in coarser:
            finest = finest + resize_bilinear(map_BFHW, (height, width), align_corners=False)
        return finest


def build_segformer(encoder: Encoder, config: ModelConfig, num_classes: int) -> SegFormer:
    """Build the decoder of SegFormer for an encoder; `config.features` is its width.

    Raises:
        ModelError: an impossible width.
    """
    features = FEATURES if config.features is None else config.features
    if not 1 <= features <= MAX_CHANNELS or config.level_widths is not None:
        raise ModelError(
            f"the decoder segformer cannot have features {config.features} and level_widths {config.level_widths}",
            expected=f"features of 1 to {MAX_CHANNELS} channels, and no level_widths",
            remedy=f"leave both out for the published {FEATURES}",
        )
    return SegFormer(encoder.widths, features, num_classes)
