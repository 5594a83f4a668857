"""Encoders in plain PyTorch; their tensors have the names that ours have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.models import Segmenter


class Attention(nn.Module):
    """Multi-head self-attention, written out: it holds the N x N weights of every head."""

    def __init__(self, width: int, heads: int, out: str) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out_name = out
        self.add_module(out, nn.Linear(width, width))

    def forward(self, x_BND: Tensor) -> Tensor:
        """Mix the tokens."""
        batch, tokens, width = x_BND.shape
        qkv = self.qkv(x_BND).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0] * (width // self.heads) ** -0.5, qkv[1], qkv[2]
        weights_BhNN = (query @ key.transpose(-2, -1)).softmax(dim=-1)
        mixed_BND = (weights_BhNN @ value).transpose(1, 2).reshape(batch, tokens, width)
        out: Tensor = self.get_submodule(self.out_name)(mixed_BND)
        return out


class Scale(nn.Module):
    """Layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_BND: Tensor) -> Tensor:
        """Scale each channel."""
        return x_BND * self.gamma


class MLP(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Map each token."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x_BND)))
        return out


class Block(nn.Module):
    """A block of DINOv2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, "proj")
        self.ls1 = Scale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)
        self.ls2 = Scale(width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Attention, then MLP, each added."""
        x_BND = x_BND + self.ls1(self.attn(self.norm1(x_BND)))
        out: Tensor = x_BND + self.ls2(self.mlp(self.norm2(x_BND)))
        return out


class Patches(nn.Module):
    """The patch embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=14, stride=14)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Embed each patch: (B, D, h, w)."""
        out: Tensor = self.proj(images_BCHW)
        return out


class DINOv2(nn.Module):
    """DINOv2 without registers at patch 14 (arXiv 2304.07193)."""

    def __init__(self, width: int, depth: int, heads: int, taken: Sequence[int]) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + 37 * 37, width))
        self.patch_embed = Patches(width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.taken = tuple(taken)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return four maps (B, D, h, w)."""
        patches_BDHW = self.patch_embed(images_BCHW)
        height, width = patches_BDHW.shape[2:]
        tokens_BND = torch.cat((self.cls_token.expand(len(patches_BDHW), -1, -1), patches_BDHW.flatten(2).mT), dim=1)
        tokens_BND = tokens_BND + self._positions(height, width)
        levels = []
        for index, block in enumerate(self.blocks):
            tokens_BND = block(tokens_BND)
            if index in self.taken:
                map_BDN = self.norm(tokens_BND)[:, 1:].mT
                levels.append(map_BDN.reshape(len(map_BDN), -1, height, width))
        return levels

    def _positions(self, height: int, width: int) -> Tensor:
        """Return the position embeddings, off the native size by the published scale factor of (n + 0.1) / 37."""
        if (height, width) == (37, 37):
            return self.pos_embed
        square = self.pos_embed[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
        factors = (height + 0.1) / 37, (width + 0.1) / 37
        resized = F.interpolate(square, scale_factor=factors, mode="bicubic")
        return torch.cat((self.pos_embed[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)


class PixelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalise; the result is NCHW in memory."""
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


class SmallBlock(nn.Module):
    """A block of the small ViTs: depthwise positions, attention, MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.position = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, "out")
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_BDHW: Tensor) -> Tensor:
        """Map (B, D, h, w) to the same shape."""
        x_BDHW = x_BDHW + self.position(x_BDHW)
        tokens_BND = x_BDHW.flatten(2).mT
        tokens_BND = tokens_BND + self.attention(self.norm1(tokens_BND))
        tokens_BND = tokens_BND + self.mlp(self.norm2(tokens_BND))
        return tokens_BND.mT.reshape(x_BDHW.shape)


class SmallViT(nn.Module):
    """The small ViTs of the package at patch 8; there is no published rendering of them."""

    def __init__(self, width: int, depth: int, heads: int, taken: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (width // 4, width // 2, width):
            layers += [nn.Conv2d(channels, out, kernel_size=3, stride=2, padding=1), PixelNorm(out), nn.GELU()]
            channels = out
        self.stem = nn.Sequential(*layers, nn.Conv2d(width, width, kernel_size=1))
        self.blocks = nn.ModuleList(SmallBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.taken = tuple(taken)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return four maps (B, D, h, w)."""
        x_BDHW = self.stem(images_BCHW)
        levels = []
        for index, block in enumerate(self.blocks):
            x_BDHW = block(x_BDHW)
            if index in self.taken:
                levels.append(self.norm(x_BDHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous())
        return levels


class FrozenNormPyramid(nn.Module):
    """A pyramid of timm whose batch norms are frozen by eval mode, the customary way."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone: Any = timm.create_model(name, pretrained=False, num_classes=0)
        self.taken = list(range(len(self.backbone.feature_info)))[-4:]
        self.backbone.prune_intermediate_layers(self.taken, prune_norm=True, prune_head=True)

    def train(self, mode: bool = True) -> FrozenNormPyramid:
        """Set the mode of all but the batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return the four levels."""
        levels: list[Tensor] = self.backbone.forward_intermediates(
            images_BCHW, indices=self.taken, intermediates_only=True
        )
        return levels


SIZES = {"dinov2_small": (384, 12, 6), "dinov2_base": (768, 12, 12), "dinov2_large": (1024, 24, 16)}
"""Width, depth and heads of DINOv2 (arXiv 2304.07193)."""
SMALL = {"vit_nano": (32, 4, 2), "vit_micro": (48, 4, 2)}


def plain_encoder(student: Segmenter) -> nn.Module:
    """Return a plain encoder with the weights of a student's.

    Raises:
        KeyError: there is no plain rendering of this encoder.
    """
    name = student.config.encoder
    state = {key: value for key, value in student.encoder.state_dict().items() if not key.endswith("_extra_state")}
    if name == "efficientnet_lite0":
        pyramid = FrozenNormPyramid("tf_efficientnet_lite0.in1k")
        counts = {key: value for key, value in pyramid.state_dict().items() if key.endswith("num_batches_tracked")}
        pyramid.load_state_dict({**state, **counts})
        return pyramid
    taken: Sequence[int] = student.encoder.taken  # type: ignore[assignment]
    if name in SMALL:
        small = SmallViT(*SMALL[name], taken)
        small.load_state_dict(state)
        return small
    vit = DINOv2(*SIZES[name], taken)
    vit.load_state_dict({key.removeprefix("backbone."): value for key, value in state.items()})
    return vit


PLAIN = (*SIZES, *SMALL, "efficientnet_lite0")
"""The encoders with a plain rendering."""
