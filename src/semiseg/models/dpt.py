"""The DPT decoder (arXiv 2103.13413) as UniMatch V2 published it, without batch norm, for ViTs and for pyramids."""

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


def change_stride(channels: int, factor: float) -> nn.Module:
    """Return what makes a map finer by a whole factor or coarser by the inverse of one; 1 leaves it as it is."""
    if factor > 1:
        return nn.ConvTranspose2d(channels, channels, kernel_size=round(factor), stride=round(factor))
    return nn.Identity() if factor == 1 else conv3x3(channels, channels, stride=round(1 / factor))


class DPT(nn.Module):
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

    def forward(self, levels_BDHW: Sequence[Tensor], keep_BF: Tensor | None = None) -> Tensor:
        """Decode four levels.

        Args:
            levels_BDHW: four maps (B, D, h, w) of the encoder, shallow first.
            keep_BF: factors for the features just before the classifier (UniMatch V2, table 12), or None.

        Returns:
            Logits (B, K, 2 h, 2 w), where h and w are the sides of the pyramid's finest level: for a ViT, logits of
            8 times the grid of its patches.
        """
        features_BFHW = self.forward_features(levels_BDHW)
        if keep_BF is not None:
            features_BFHW = features_BFHW * keep_BF[:, :, None, None].to(features_BFHW.dtype)
        logits_BKHW: Tensor = self.classifier(features_BFHW)
        return logits_BKHW

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
