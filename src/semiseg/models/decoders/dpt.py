"""The DPT decoder (arXiv 2103.13413) as UniMatch V2 published it, without batch norm, for ViTs and for pyramids."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models.config import MAX_CHANNELS, ModelConfig
from semiseg.models.decoders.base import Decoder, FeatureHook
from semiseg.models.encoders import Encoder, encoder_spec
from semiseg.models.layers import conv3x3, in_float32, resize_bilinear


class ResidualUnit(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, added to the input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(features, features)
        self.conv2 = conv3x3(features, features)

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """Map (B, F, H, W) to the same shape."""
        inner_BFHW: Tensor = self.conv2(F.relu(self.conv1(F.relu(x_BFHW)), inplace=True))
        return x_BFHW + inner_BFHW


class FusionBlock(nn.Module):
    """Merge the deeper path with one level's skip and enlarge the result."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.skip = ResidualUnit(features)
        self.merge = ResidualUnit(features)
        self.out = nn.Conv2d(features, features, kernel_size=1)

    def forward(self, path_BFHW: Tensor, skip_BFHW: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Merge two maps of one size (or the path alone) and resize the result to `size`."""
        if skip_BFHW is not None:
            path_BFHW = path_BFHW + self.skip(skip_BFHW)
        # The published order is upsample, then 1x1. Both are linear, act on different axes, and the weights of bilinear
        # sum to one (so the bias passes too): the result is equal up to rounding at a quarter of the cost.
        return resize_bilinear(self.out(self.merge(path_BFHW)), size)


def change_stride(channels: int, factor: float) -> nn.Module:
    """Return what makes a map finer by a whole factor or coarser by the inverse of one; 1 leaves it as it is."""
    if factor > 1:
        return nn.ConvTranspose2d(channels, channels, kernel_size=round(factor), stride=round(factor))
    return nn.Identity() if factor == 1 else conv3x3(channels, channels, stride=round(1 / factor))


class DPT(Decoder):
    """Four encoder levels become a pyramid and are fused from deep to shallow.

    The third level keeps its stride s; the others are brought to s / 4, s / 2 and 2 s where they are not there already:
    the four levels of a ViT are spread, those of a pyramid with strides 4, 8, 16, 32 stay as they are.

    Args:
        widths: channels D of the encoder's levels, shallow first.
        strides: their strides in pixels.
        features: channels F of the fusion path, published 64, 128, 256, 384 for DINOv2 S, B, L, g.
        level_widths: channels of the four levels after projection, shallow first.
        num_classes: K.
    """

    def __init__(
        self,
        widths: Sequence[int],
        strides: Sequence[int],
        features: int,
        level_widths: Sequence[int],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.features = features
        self.project = nn.ModuleList(
            nn.Conv2d(width, channels, kernel_size=1) for width, channels in zip(widths, level_widths, strict=True)
        )
        targets = [strides[2] * relative for relative in (1 / 4, 1 / 2, 1, 2)]
        self.resize = nn.ModuleList(
            change_stride(channels, stride / target)
            for channels, stride, target in zip(level_widths, strides, targets, strict=True)
        )
        self.reduce = nn.ModuleList(conv3x3(channels, features, bias=False) for channels in level_widths)
        self.fuse = nn.ModuleList(FusionBlock(features) for _ in level_widths)
        self.output = conv3x3(features, features)
        self.classifier = nn.Conv2d(features, num_classes, kernel_size=1)
        # The deepest block has no skip. The published state dict holds its skip unit all the same, so ours does too.
        self.fuse[3].skip.requires_grad_(False)

    def forward(self, levels_BDHW: Sequence[Tensor], at_features: FeatureHook | None = None) -> Tensor:
        """Decode as every `Decoder`.

        Returns:
            Logits (B, K, 2 h, 2 w), where h and w are the sides of the pyramid's finest level: for a ViT, logits of
            8 times the grid of its patches.
        """
        features_BFHW = self.forward_features(levels_BDHW)
        if at_features is not None:
            features_BFHW = at_features(features_BFHW)
        return in_float32(self.classifier, features_BFHW)

    def forward_features(self, levels_BDHW: Sequence[Tensor]) -> Tensor:
        """Return what the classifier sees: (B, F, 2 h, 2 w), after the last ReLU."""
        stages = zip(levels_BDHW, self.project, self.resize, self.reduce, strict=True)
        skips = [reduce(resize(project(level))) for level, project, resize, reduce in stages]
        height, width = skips[0].shape[2:]
        sizes = [(2 * height, 2 * width), *(tuple(skip.shape[2:]) for skip in skips[:3])]
        path = self.fuse[3](skips[3], None, sizes[3])
        for level in (2, 1, 0):
            path = self.fuse[level](path, skips[level], sizes[level])
        return F.relu(self.output(path), inplace=True)


def build_dpt(encoder: Encoder, config: ModelConfig, num_classes: int) -> DPT:
    """Build a DPT for an encoder.

    Raises:
        ModelError: impossible sizes.
    """
    widths = [config.features, *(config.level_widths or ())]
    if any(width is not None and not 1 <= width <= MAX_CHANNELS for width in widths) or len(widths) not in (1, 5):
        raise ModelError(
            f"the decoder cannot have features {config.features} and level_widths {config.level_widths}",
            expected=f"features and four level widths of 1 to {MAX_CHANNELS} channels",
            remedy="leave both out for the published sizes",
        )
    features, level_widths = dpt_sizes(config, encoder.width)
    return DPT(encoder.widths, encoder.strides, features, level_widths, num_classes)


def dpt_sizes(config: ModelConfig, width: int) -> tuple[int, tuple[int, int, int, int]]:
    """Return the features and level widths of a DPT: as configured, else published, else from the width D.

    The rule for other encoders continues the published sizes of DINOv2 S and B: D / 6 (to a multiple of 8) and
    D / 8, D / 4, D / 2, D.
    """
    spec = encoder_spec(config.encoder)
    features = spec.features if spec else max(8, width // 48 * 8)
    level_widths = spec.level_widths if spec else (width // 8, width // 4, width // 2, width)
    return config.features or features, config.level_widths or level_widths
