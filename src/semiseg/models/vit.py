"""Small vision transformers of our own, made to learn from random initialisation on a laptop.

A plain pre-norm ViT with two changes that matter when there is no pre-training and little data: the patch embedding is
a stack of stride-2 convolutions (early convolutions, arXiv 2106.14881), and positions come from a depthwise convolution
in every block (conditional position encoding, arXiv 2102.10882), so any image size works. All norms are layer norms
over channels: nothing couples the samples of a batch, so each image gives the same alone and beside others.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of (B, C, H, W)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalise each pixel; the result is a channels-last image."""
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Multi-head self-attention over (B, N, D).

    Written out where gradients are needed on a CPU: with few tokens, the backward pass of its fused kernel in bf16 is
    many times slower (16 x 2 heads x 144 tokens x 32: 17.7 against 2.8 ms on one core of an AMD EPYC, torch 2.15,
    2026-11-21). Else the fused kernel, which never holds the N x N scores of a whole photograph.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """Mix the tokens; (B, N, D) in and out."""
        qkv = self.qkv(tokens_BND).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        if query.requires_grad and query.device.type == "cpu":
            scores_BhNN = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
            mixed_BhNd = scores_BhNN.softmax(dim=-1).to(value.dtype) @ value
        else:
            mixed_BhNd = F.scaled_dot_product_attention(query, key, value)
        out_BND: Tensor = self.out(mixed_BhNd.transpose(1, 2).flatten(2))
        return out_BND


class Block(nn.Module):
    """Position, attention and MLP, each added to the residual stream of tokens (B, h, w, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.position = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """Map (B, h, w, D) to the same shape."""
        x_BHWD = x_BHWD + self.position(x_BHWD.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        mixed_BND = self.attention(self.norm1(x_BHWD).flatten(1, 2))
        x_BHWD = x_BHWD + mixed_BND.view_as(x_BHWD)
        deepened_BHWD: Tensor = self.mlp(self.norm2(x_BHWD))
        return x_BHWD + deepened_BHWD


def stem(width: int) -> nn.Sequential:
    """Three stride-2 convolutions to stride 8, then a 1x1 convolution to the width of the tokens."""
    layers: list[nn.Module] = []
    channels = 3
    for out in (width // 4, width // 2, width):
        layers += [nn.Conv2d(channels, out, kernel_size=3, stride=2, padding=1), ChannelNorm(out), nn.GELU()]
        channels = out
    return nn.Sequential(*layers, nn.Conv2d(width, width, kernel_size=1))


def init_weights(module: nn.Module) -> None:
    """Truncated normal 0.02 for linear layers and zero biases; convolutions keep their fan-in scale."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
