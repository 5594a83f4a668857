"""CLIP as SemiVL takes it (arXiv 2311.16241): dense features that can be compared with texts, and skips for detail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.models.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder, alike, create_timm
from semiseg.models.positions import resize_grid

GRID = 32
"""Rows and columns of the position embeddings that learn: those of the published crop of 512 pixels."""

TOWER = "visual."
"""What the keys of the image tower begin with in OpenAI's and open_clip's layout."""

_NAMES = (
    ("conv1.", "patch_embed.proj."),
    ("class_embedding", "cls_token"),
    ("positional_embedding", "pos_embed"),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    ("transformer.resblocks.", "blocks."),
    (".ln_", ".norm"),
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)
"""Parts of names in that layout, and timm's."""


class CLIP(Encoder):
    """A vision transformer of CLIP (arXiv 2103.00020) whose last level lies in the space of CLIP's texts.

    The levels are *value paths* (MaskCLIP, arXiv 2112.01071): what a block gives if each token attends to itself alone,
    which keeps a feature where it is. Those of two shallow blocks, that of the last block after the final norm, and the
    same projected to the space of texts, of unit length.

    Args:
        name: timm's name.
        skips: the two shallow blocks (published: 0 and 4).
        texts: open_clip's name of the model whose texts the last level is compared with.
        pretrained: load timm's weights from the hub.
        channels: of the space of texts.
        **options: of timm's model.
    """

    patch = 16
    strides = alike(patch)

    def __init__(
        self, name: str, skips: tuple[int, int], texts: str, pretrained: bool, channels: int = 512, **options: Any
    ) -> None:
        super().__init__()
        self.backbone: Any = create_timm(name, pretrained, num_classes=channels, **options)
        width = self.backbone.embed_dim
        self.widths = (width, width, width, channels)
        self.mean, self.std = (tuple(self.backbone.pretrained_cfg[key]) for key in ("mean", "std"))
        self.skips, self.texts = skips, texts
        self.backbone.pos_embed = nn.Parameter(_to_native(self.backbone.pos_embed.detach()))

    def core(self) -> nn.Module:
        """Return timm's module."""
        return cast(nn.Module, self.backbone)

    def adapt(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take weights of timm, OpenAI or open_clip, and bring their positions to the native grid."""
        towers = any(key.startswith(TOWER) for key in tensors)
        adapted = super().adapt(_image_tower(tensors) if towers else tensors)
        if "pos_embed" in adapted:
            adapted["pos_embed"] = _to_native(adapted["pos_embed"])
        return adapted

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        return self._levels(images_BCHW, self.skips)

    def deepest(self, images_BCHW: Tensor) -> Tensor:
        """Return the last level as every `Encoder`: (B, C, H / 16, W / 16) of unit length, float32."""
        return self._levels(images_BCHW, ())[-1]

    def _levels(self, images_BCHW: Tensor, skips: Sequence[int]) -> list[Tensor]:
        vit = self.backbone
        patches_BDHW = vit.patch_embed.proj(images_BCHW)
        grid = (patches_BDHW.shape[2], patches_BDHW.shape[3])
        places_1ND = resize_grid(vit.pos_embed[:, 1:], grid)
        class_B1D = (vit.cls_token + vit.pos_embed[:, :1]).expand(images_BCHW.shape[0], -1, -1)
        patches_BND = patches_BDHW.flatten(2).transpose(1, 2) + places_1ND
        tokens_BND = vit.norm_pre(torch.cat((class_B1D, patches_BND), dim=1))
        *earlier, last = vit.blocks
        levels = []
        for index, block in enumerate(earlier):
            if index in skips:
                levels.append(value_path(block, tokens_BND))
            tokens_BND = block(tokens_BND)
        deep_BND = vit.norm(value_path(last, tokens_BND))
        # In float32: the classes differ by little in their similarities, and these are multiplied by 100.
        aligned_BNC = F.normalize(vit.head(deep_BND).float(), dim=-1)
        return [tokens.unflatten(1, grid).permute(0, 3, 1, 2) for tokens in (*levels, deep_BND, aligned_BNC)]


def value_path(block: Any, tokens_BND: Tensor) -> Tensor:
    """Return what a block of timm's ViT gives for the patches if each token attends to itself alone: (B, N - 1, D)."""
    patches_BND = tokens_BND[:, 1:]
    width = patches_BND.shape[-1]
    qkv = block.attn.qkv
    values_BND = F.linear(block.norm1(patches_BND), qkv.weight[2 * width :], qkv.bias[2 * width :])
    patches_BND = patches_BND + block.attn.proj(values_BND)
    deepened_BND: Tensor = patches_BND + block.mlp(block.norm2(patches_BND))
    return deepened_BND


def _image_tower(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the image tower of OpenAI's or open_clip's layout in timm's names and shapes."""
    renamed = {}
    for key, tensor in tensors.items():
        if not key.startswith(TOWER):
            continue
        key = key.removeprefix(TOWER)
        for theirs, ours in _NAMES:
            key = key.replace(theirs, ours)
        if key == "proj":
            renamed["head.weight"] = tensor.t() if tensor.ndim < 3 else tensor
            renamed["head.bias"] = tensor.new_zeros(tensor.shape[-1:])
        else:
            renamed[key] = {"cls_token": tensor[None, None], "pos_embed": tensor[None]}.get(key, tensor)
    return renamed


def _to_native(positions_1ND: Tensor) -> Tensor:
    """Resize the position embeddings of a square grid behind that of the class token to the native grid."""
    places = positions_1ND.shape[1] - 1 if positions_1ND.ndim == 3 else -1
    if places < 1 or math.isqrt(places) ** 2 != places:
        return positions_1ND  # of no square: loading will say that they do not fit
    return torch.cat((positions_1ND[:, :1], resize_grid(positions_1ND[:, 1:], (GRID, GRID))), dim=1)


class DetailedCLIP(Encoder):
    """CLIP, with the first stage of a ResNet in place of the shallowest level: the published encoder for Cityscapes.

    Args:
        clip: the encoder of the other levels.
        resnet: timm's name of the ResNet.
        pretrained: load timm's weights of the ResNet from the hub.
    """

    patch = 16
    scales_4311: Tensor

    def __init__(self, clip: CLIP, resnet: str, pretrained: bool) -> None:
        super().__init__()
        self.clip = clip
        self.mean, self.std, self.texts = clip.mean, clip.std, clip.texts
        whole: Any = create_timm(resnet, pretrained)
        self.detail = nn.Sequential(whole.conv1, whole.bn1, whole.act1, whole.maxpool, whole.layer1)
        stage = whole.feature_info[1]
        self.widths = (stage["num_chs"], *clip.widths[1:])
        self.strides = (stage["reduction"], *clip.strides[1:])
        scales_4311 = torch.tensor((self.mean, self.std, IMAGENET_MEAN, IMAGENET_STD))[..., None, None]
        self.register_buffer("scales_4311", scales_4311, persistent=False)

    def attention(self) -> list[nn.Parameter]:
        """Return what trains in spatial fine-tuning; the ResNet knows nothing yet of places and trains as a whole."""
        return [*self.clip.attention(), *self.detail.parameters()]

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        _, *levels = self.clip(images_BCHW)
        return [self.detail(self._as_imagenet(images_BCHW)), *levels]

    def deepest(self, images_BCHW: Tensor) -> Tensor:
        """Return the last level as every `Encoder`."""
        return self.clip.deepest(images_BCHW)

    def _as_imagenet(self, images_BCHW: Tensor) -> Tensor:
        """Bring images that are normalised for CLIP to the scale that the ResNet was trained on."""
        mean, std, its_mean, its_std = self.scales_4311.to(images_BCHW.dtype).unbind()
        return (images_BCHW * std + mean - its_mean) / its_std
