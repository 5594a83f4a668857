"""Plain vision transformers: every level has the stride of the patch and the width of the tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from semiseg.models.encoders.base import Encoder, alike, create_timm, not_plain
from semiseg.models.positions import PositionGrid
from semiseg.models.vit import Block, init_weights, stem


def quarters(depth: int) -> list[int]:
    """Return the (0-based) last block of each quarter of the depth: 2, 5, 8, 11 of 12."""
    return [math.ceil(depth * quarter / 4) - 1 for quarter in (1, 2, 3, 4)]


class SmallViT(Encoder):
    """A small ViT of our own at patch 8; see `semiseg.models.vit`."""

    patch = 8
    strides = alike(patch)

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.widths = alike(width)
        self.stem = stem(width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.taken = quarters(depth)
        self.apply(init_weights)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        tokens_BHWD = self.stem(images_BCHW).permute(0, 2, 3, 1)
        levels = []
        for index, block in enumerate(self.blocks):
            tokens_BHWD = block(tokens_BHWD)
            if index in self.taken:
                levels.append(self.norm(tokens_BHWD).permute(0, 3, 1, 2))
        return levels


class DINOv2(Encoder):
    """DINOv2 without registers (arXiv 2304.07193): timm's modules and weights, the published position rule.

    Args:
        size: "small", "base", "large" or "giant".
        taken: the blocks whose outputs are the levels, as published with UniMatch V2.
        pretrained: load the published weights through timm's hub.
    """

    patch = 14
    strides = alike(patch)

    def __init__(self, size: str, taken: Sequence[int], pretrained: bool) -> None:
        super().__init__()
        # init_values: the layer scale at random initialisation; timm's 1e-5 would all but switch the blocks off.
        self.backbone: Any = create_timm(
            f"vit_{size}_patch14_dinov2.lvd142m", pretrained, dynamic_img_size=True, init_values=1.0
        )
        self.positions = PositionGrid()
        self.widths = alike(self.backbone.embed_dim)
        self.taken = tuple(taken)

    def core(self) -> nn.Module:
        """Return timm's module."""
        return cast(nn.Module, self.backbone)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        vit = self.backbone
        patches_BHWD = vit.patch_embed(images_BCHW)
        grid = patches_BHWD.shape[1:3]
        positions_1ND = self.positions(vit.pos_embed[:, 1:], tuple(grid))
        class_B1D = (vit.cls_token + vit.pos_embed[:, :1]).expand(images_BCHW.shape[0], -1, -1)
        tokens_BND = torch.cat((class_B1D, patches_BHWD.flatten(1, 2) + positions_1ND), dim=1)
        levels = []
        for index, block in enumerate(vit.blocks):
            tokens_BND = block(tokens_BND)
            if index in self.taken:
                # The norm acts on each token alone, so the class token can go first: the result is then contiguous
                # and its view as a map is a channels-last image, without a copy.
                levels.append(vit.norm(tokens_BND[:, 1:]).unflatten(1, grid).permute(0, 3, 1, 2))
        return levels


class TimmEncoder(Encoder):
    """Any plain ViT of timm, with its own normalisation and position rule.

    Args:
        name: timm's name, with or without a tag of weights, for example "vit_base_patch16_224.dino".
        pretrained: load timm's weights from the hub.
        taken: the blocks whose outputs are the levels; None: the last of each quarter.
        **options: of timm's model, for example `init_values`.
    """

    any_size: ClassVar[dict[str, bool]] = {"dynamic_img_size": True}
    """What makes timm's model take images of any size."""
    prune_norm: ClassVar[bool] = False

    def __init__(self, name: str, pretrained: bool, taken: Sequence[int] | None = None, **options: Any) -> None:
        super().__init__()
        self.backbone: Any = create_timm(name, pretrained, **self.any_size, **options)
        levels = list(getattr(self.backbone, "feature_info", []))
        shapes = {(level["reduction"], level["num_chs"]) for level in levels}
        if len(shapes) != 1 or len(levels) < 4 or not hasattr(self.backbone, "forward_intermediates"):
            raise not_plain(name)
        ((self.patch, width),) = shapes
        self.widths, self.strides = alike(width), alike(self.patch)
        self.mean, self.std = (tuple(self.backbone.pretrained_cfg[key]) for key in ("mean", "std"))
        self.taken = list(taken) if taken else quarters(len(levels))
        self.backbone.prune_intermediate_layers(self.taken, prune_norm=self.prune_norm, prune_head=True)

    def core(self) -> nn.Module:
        """Return timm's module."""
        return cast(nn.Module, self.backbone)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        levels = self.backbone.forward_intermediates(
            images_BCHW, indices=self.taken, norm=True, intermediates_only=True
        )
        return cast(list[Tensor], levels)


class SAM(TimmEncoder):
    """The image encoder of Segment Anything (arXiv 2304.02643), without the neck that leads to its own decoder.

    timm's module takes images of any size as it is. Its last norm is part of the neck: the levels have none.
    """

    any_size: ClassVar[dict[str, bool]] = {}
    prune_norm: ClassVar[bool] = True
