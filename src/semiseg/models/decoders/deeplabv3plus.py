"""The DeepLabV3+ decoder (arXiv 1802.02611) as UniMatch V1 published it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models.config import MAX_CHANNELS, ModelConfig
from semiseg.models.decoders.base import Decoder, FeatureHook
from semiseg.models.encoders import Encoder
from semiseg.models.layers import in_float32, resize_bilinear

FEATURES = 256
"""Channels of the pooled context and of the fused features, as published."""
SKIP = 48
"""Channels that the finest level is reduced to."""
RATES = (6, 12, 18)
"""Dilations of the 3x3 branches, for levels of stride 16."""


def conv_norm_relu(channels: int, out: int, *, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, without bias, then batch norm and ReLU."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(channels, out, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class ImagePooling(nn.Module):
    """The mean of the whole image, seen by every pixel."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, out, kernel_size=1, bias=False), nn.BatchNorm2d(out)

    def forward(self, x_BDHW: Tensor) -> Tensor:
        """Map (B, D, H, W) to (B, F, H, W), the same at every pixel."""
        pooled_BF11 = self.conv(x_BDHW.mean(dim=(2, 3), keepdim=True))
        return self._normalized(pooled_BF11).relu().expand(-1, -1, *x_BDHW.shape[2:])

    def _normalized(self, pooled_BF11: Tensor) -> Tensor:
        """Normalise; one image in a batch has no statistics of its own and takes those of the images before it."""
        norm = self.norm
        if not self.training or len(pooled_BF11) > 1 or isinstance(norm, nn.SyncBatchNorm):
            normalized_BF11: Tensor = norm(pooled_BF11)
            return normalized_BF11
        return nn.functional.batch_norm(
            pooled_BF11, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False, eps=norm.eps
        )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a level seen pixel by pixel, at three dilations, and as a whole."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            (
                conv_norm_relu(channels, features),
                *(conv_norm_relu(channels, features, kernel=3, dilation=rate) for rate in RATES),
                ImagePooling(channels, features),
            )
        )
        self.project = conv_norm_relu(len(self.branches) * features, features)

    def forward(self, x_BDHW: Tensor) -> Tensor:
        """Map (B, D, H, W) to (B, F, H, W)."""
        context_BFHW: Tensor = self.project(torch.cat([branch(x_BDHW) for branch in self.branches], dim=1))
        return context_BFHW


class DeepLabV3Plus(Decoder):
    """The deepest level, pooled at several dilations, is fused with the finest one; the two between are not used.

    Batch norm couples the samples of a training batch.

    Args:
        fine: channels of the finest level.
        deep: channels of the deepest level.
        features: channels F of the pooled context and of the fused features, published 256.
        num_classes: K.
    """

    def __init__(self, fine: int, deep: int, features: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.context = ASPP(deep, features)
        self.reduce = conv_norm_relu(fine, SKIP)
        self.fuse = nn.Sequential(
            conv_norm_relu(SKIP + features, features, kernel=3), conv_norm_relu(features, features, kernel=3)
        )
        self.classifier = nn.Conv2d(features, num_classes, kernel_size=1)

    def forward(self, levels_BDHW: Sequence[Tensor], at_features: FeatureHook | None = None) -> Tensor:
        """Decode as every `Decoder`; logits of the finest level's size."""
        fine_BDHW, deep_BDHW = levels_BDHW[0], levels_BDHW[-1]
        context_BFHW = resize_bilinear(self.context(deep_BDHW), (fine_BDHW.shape[2], fine_BDHW.shape[3]))
        features_BFHW: Tensor = self.fuse(torch.cat((self.reduce(fine_BDHW), context_BFHW), dim=1))
        if at_features is not None:
            features_BFHW = at_features(features_BFHW)
        return in_float32(self.classifier, features_BFHW)


def build_deeplabv3plus(encoder: Encoder, config: ModelConfig, num_classes: int) -> DeepLabV3Plus:
    """Build a DeepLabV3+ for an encoder.

    Raises:
        ModelError: impossible features, or level widths, which belong to DPT.
    """
    features = FEATURES if config.features is None else config.features
    if not 1 <= features <= MAX_CHANNELS or config.level_widths is not None:
        raise ModelError(
            f"DeepLabV3+ cannot have features {config.features} and level_widths {config.level_widths}",
            expected=f"features of 1 to {MAX_CHANNELS} channels, and no level_widths",
            remedy=f"leave both out for the published {FEATURES} channels",
        )
    return DeepLabV3Plus(encoder.widths[0], encoder.widths[-1], features, num_classes)
