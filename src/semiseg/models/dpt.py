"""The DPT decoder (arXiv 2103.13413) as UniMatch V2 published it: no batch norm, four ViT levels of one stride."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def resize_bilinear(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize with corners aligned; the input itself if it has the size already."""
    if x_BCHW.shape[2:] == size:
        return x_BCHW
    return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=True)


def conv3x3(channels: int, out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """A 3x3 convolution with padding 1."""
    return nn.Conv2d(channels, out, kernel_size=3, stride=stride, padding=1, bias=bias)


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


class DPT(nn.Module):
    """Four encoder levels of one stride are spread over a pyramid and fused from deep to shallow.

    Args:
        width: channels D of the encoder's levels.
        features: channels F of the fusion path, published 64, 128, 256, 384 for DINOv2 S, B, L, g.
        level_widths: channels of the four levels after projection, shallow first.
        num_classes: K.
    """

    def __init__(self, width: int, features: int, level_widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.width = width
        self.features = features
        first, second, _, fourth = level_widths
        self.project = nn.ModuleList(nn.Conv2d(width, channels, kernel_size=1) for channels in level_widths)
        self.resize = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, kernel_size=4, stride=4),
                nn.ConvTranspose2d(second, second, kernel_size=2, stride=2),
                nn.Identity(),
                conv3x3(fourth, fourth, stride=2),
            ]
        )
        self.reduce = nn.ModuleList(conv3x3(channels, features, bias=False) for channels in level_widths)
        self.fuse = nn.ModuleList(FusionBlock(features) for _ in level_widths)
        self.output = conv3x3(features, features)
        self.classifier = nn.Conv2d(features, num_classes, kernel_size=1)
        # The deepest block has no skip. The published state dict holds its skip unit all the same, so ours does too.
        self.fuse[3].skip.requires_grad_(False)

    def forward(self, levels_BDHW: Sequence[Tensor], keep_BF: Tensor | None = None) -> Tensor:
        """Decode four levels.

        Args:
            levels_BDHW: four maps (B, D, h, w) at patch stride, shallow first.
            keep_BF: factors for the features just before the classifier (UniMatch V2, table 12), or None.

        Returns:
            Logits (B, K, 8 h, 8 w).
        """
        features_BFHW = self.forward_features(levels_BDHW)
        if keep_BF is not None:
            features_BFHW = features_BFHW * keep_BF[:, :, None, None].to(features_BFHW.dtype)
        logits_BKHW: Tensor = self.classifier(features_BFHW)
        return logits_BKHW

    def forward_features(self, levels_BDHW: Sequence[Tensor]) -> Tensor:
        """Return what the classifier sees: (B, F, 8 h, 8 w), after the last ReLU."""
        stages = zip(levels_BDHW, self.project, self.resize, self.reduce, strict=True)
        skips = [reduce(resize(project(level))) for level, project, resize, reduce in stages]
        height, width = skips[0].shape[2:]
        sizes = [(2 * height, 2 * width), *(tuple(skip.shape[2:]) for skip in skips[:3])]
        path = self.fuse[3](skips[3], None, sizes[3])
        for level in (2, 1, 0):
            path = self.fuse[level](path, skips[level], sizes[level])
        return F.relu(self.output(path), inplace=True)
