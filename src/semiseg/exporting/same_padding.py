"""Convolutions with TensorFlow's padding SAME, whose width depends on the size of the input, in graphs of any size.

timm computes the padding in Python. Traced with free sizes, each layer's formula holds that of the layer before, twice,
and after a few layers no tracer comes to an end. ONNX has the rule as an attribute of its convolution, so that the
graph needs no formula.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame, conv2d_same
from torch import Tensor, nn


@torch.library.custom_op("semiseg::conv_same", mutates_args=())
def conv_same(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], dilation: list[int], groups: int
) -> Tensor:
    """Convolve so that the output has the size of the input divided by the stride, rounded up."""
    steps, holes = (stride[0], stride[1]), (dilation[0], dilation[1])
    found: Tensor = conv2d_same(x, weight, bias, steps, (0, 0), holes, groups)
    return found


@conv_same.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], dilation: list[int], groups: int) -> Tensor:
    sides = [(side + step - 1) // step for side, step in zip(x.shape[2:], stride, strict=True)]
    return x.new_empty(x.shape[0], weight.shape[0], *sides)


class SamePadded(nn.Module):
    """One of timm's convolutions as one operation."""

    def __init__(self, conv: Conv2dSame) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.dilation, self.groups = list(conv.stride), list(conv.dilation), conv.groups

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Convolve."""
        found: Tensor = conv_same(x_BCHW, self.weight, self.bias, self.stride, self.dilation, self.groups)
        return found


def whole(part: nn.Module) -> nn.Module | None:
    """Return what stands for a module in a graph of any size, None for a module of another kind."""
    return SamePadded(part) if isinstance(part, Conv2dSame) else None


def translation(x: Any, weight: Any, bias: Any, stride: Any, dilation: Any, groups: int) -> Any:
    """Return the operation in ONNX, which has the rule as an attribute."""
    from onnxscript import opset18

    inputs = (x, weight) if bias is None else (x, weight, bias)
    return opset18.Conv(*inputs, auto_pad="SAME_UPPER", strides=stride, dilations=dilation, group=groups)
