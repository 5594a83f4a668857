"""Batch norms that stay what they are, folded into the convolutions before them while both learn."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame, conv2d_same
from torch import Tensor, nn


class FixedNorm(nn.Module):
    """A batch norm whose mean and variance stay what they are in training too; its scale and shift learn.

    It couples no samples of a batch, so a step may be divided as one likes. The scaling and shifting is done by the
    convolution before it, a `FoldedConv`; here only the activation is left.

    Args:
        norm: whose values and keys it takes.
        activation: what follows.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d, activation: nn.Module) -> None:
        super().__init__()
        assert norm.running_mean is not None, "a norm with averages"
        assert norm.running_var is not None, "a norm with averages"
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        self.activation = activation

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return what each channel is multiplied by, and what is then added: (C,) each."""
        scale_C = self.weight * (self.running_var + self.eps).rsqrt()
        return scale_C, self.bias - self.running_mean * scale_C

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map what the convolution gave, (B, C, H, W), to the same shape."""
        activated_BCHW: Tensor = self.activation(x_BCHW)
        return activated_BCHW


class FoldedConv(nn.Conv2d):
    """A convolution without bias and the fixed norm after it as one convolution, whose weights are made at each pass.

    Both learn as if they were two: the gradient goes through the product of their weights. The map between them is
    neither computed nor kept for the backward pass.

    Args:
        conv: whose weights and key it takes; timm's with the padding SAME too.
        norm: what follows. It stays a module of its own, with its own keys, and is known here by reference.
    """

    def __init__(self, conv: nn.Conv2d, norm: FixedNorm) -> None:
        assert conv.bias is None, "the norm has the bias"
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            cast(tuple[int, int], conv.kernel_size),
            cast(tuple[int, int], conv.stride),
            cast(tuple[int, int], conv.padding),
            cast(tuple[int, int], conv.dilation),
            conv.groups,
            bias=False,
            device="meta",
        )
        self.weight, self.same = conv.weight, isinstance(conv, Conv2dSame)
        self._norm = (norm,)  # in a tuple, lest it be registered here, too

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weights and bias of the one convolution."""
        scale_C, shift_C = self._norm[0].scale_and_shift()
        return self.weight * scale_C[:, None, None, None], shift_C

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map (B, C, H, W) to what the norm gives."""
        convolve: Callable[..., Tensor] = conv2d_same if self.same else F.conv2d
        return convolve(x_BCHW, *self.folded(), self.stride, self.padding, self.dilation, self.groups)

    def plain(self) -> nn.Conv2d:
        """Return the one convolution as a module of its own that does not learn, for an exported graph."""
        make: Any = Conv2dSame if self.same else nn.Conv2d
        size = self.kernel_size, self.stride, self.padding, self.dilation, self.groups
        conv: nn.Conv2d = make(self.in_channels, self.out_channels, *size)
        weight, bias = self.folded()
        conv.weight, conv.bias = (nn.Parameter(tensor.detach(), requires_grad=False) for tensor in (weight, bias))
        return conv


def folded_for_good(model: nn.Module) -> nn.Module:
    """Return the model, or a copy of it for exported graphs, where no folded convolution makes its weights anew."""
    if not any(isinstance(module, FoldedConv) for module in model.modules()):
        return model
    copied = deepcopy(model)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FoldedConv):
                setattr(parent, name, child.plain())
    return copied
