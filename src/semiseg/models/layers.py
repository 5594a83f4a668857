"""The few layers that decoders share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def resize_bilinear(x_BCHW: Tensor, size: tuple[int, int], *, align_corners: bool = True) -> Tensor:
    """Resize; the input itself if it has the size already."""
    if x_BCHW.shape[2:] == size:
        return x_BCHW
    return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=align_corners)


def conv3x3(channels: int, out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """A 3x3 convolution with padding 1."""
    return nn.Conv2d(channels, out, kernel_size=3, stride=stride, padding=1, bias=bias)


def keep_channels_last(model: nn.Module) -> None:
    """Lay the weights of all convolutions out with the channels last, in place; names, shapes and values stay.

    A convolution whose weights lie so gives maps that lie so, and what follows keeps the order: from the first
    convolution on nothing is turned around. Tokens (B, N, D) seen as a map lie so already.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # A copy, not `contiguous`: of depthwise weights (C, 1, k, k) that would leave strides other than those of
            # their gradients, which DistributedDataParallel minds.
            laid_out = torch.empty_like(module.weight.data, memory_format=torch.channels_last)
            module.weight.data = laid_out.copy_(module.weight.data)


def in_float32(classifier: nn.Module, features_BFHW: Tensor) -> Tensor:
    """Run the last layer in float32, also under autocast.

    Logits rounded to bfloat16 would move a confidence near the threshold of 0.95 by up to 0.003, and a 1x1 convolution
    costs next to nothing.
    """
    with torch.autocast(features_BFHW.device.type, enabled=False):
        logits_BKHW: Tensor = classifier(features_BFHW.float())
    return logits_BKHW
