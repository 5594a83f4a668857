"""The encoders by name: DINOv2 and other ViTs through timm, and two small ones of our own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from semiseg.errors import ModelError, closest
from semiseg.models.positions import resize_positions
from semiseg.models.vit import Block, init_weights, stem
from semiseg.models.weights import load_encoder_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """What every encoder is: images in, four feature maps of one stride and one width out, shallow first.

    Attributes:
        patch: the stride in pixels; image sides are multiples of it.
        width: channels D of every level.
        mean: per-channel mean of the images it was trained on, on a scale of 0 to 1.
        std: the standard deviation to the mean.
    """

    patch: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode normalised images (B, 3, H, W) to four maps (B, D, H / patch, W / patch)."""
        raise NotImplementedError

    def core(self) -> nn.Module:
        """Return the module whose state dict a file of encoder weights carries."""
        return self


def quarters(depth: int) -> list[int]:
    """Return the (0-based) last block of each quarter of the depth: 2, 5, 8, 11 of 12."""
    return [math.ceil(depth * quarter / 4) - 1 for quarter in (1, 2, 3, 4)]


class SmallViT(Encoder):
    """A small ViT of our own at patch 8; see `semiseg.models.vit`."""

    patch = 8

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.width = width
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

    def __init__(self, size: str, taken: Sequence[int], pretrained: bool) -> None:
        super().__init__()
        # init_values: the layer scale at random initialisation; timm's 1e-5 would all but switch the blocks off.
        self.backbone: Any = create_timm(
            f"vit_{size}_patch14_dinov2.lvd142m", pretrained, dynamic_img_size=True, init_values=1.0
        )
        self.width = self.backbone.embed_dim
        self.taken = tuple(taken)

    def core(self) -> nn.Module:
        """Return timm's module."""
        return cast(nn.Module, self.backbone)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        vit = self.backbone
        patches_BHWD = vit.patch_embed(images_BCHW)
        grid = patches_BHWD.shape[1:3]
        positions_1ND = resize_positions(vit.pos_embed[:, 1:], tuple(grid))
        class_B1D = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(images_BCHW), -1, -1)
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
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        self.backbone: Any = create_timm(name, pretrained, dynamic_img_size=True)
        levels = list(getattr(self.backbone, "feature_info", []))
        shapes = {(level["reduction"], level["num_chs"]) for level in levels}
        if len(shapes) != 1 or len(levels) < 4 or not hasattr(self.backbone, "forward_intermediates"):
            raise _not_plain(name)
        ((self.patch, self.width),) = shapes
        self.mean, self.std = (tuple(self.backbone.pretrained_cfg[key]) for key in ("mean", "std"))
        self.taken = quarters(len(levels))
        self.backbone.prune_intermediate_layers(self.taken, prune_norm=False, prune_head=True)

    def core(self) -> nn.Module:
        """Return timm's module."""
        return cast(nn.Module, self.backbone)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        levels = self.backbone.forward_intermediates(
            images_BCHW, indices=self.taken, norm=True, intermediates_only=True
        )
        return cast(list[Tensor], levels)


def create_timm(name: str, pretrained: bool, **options: Any) -> Any:
    """Build timm's encoder `name` without a classifier.

    Raises:
        ModelError: it does not know the options of a plain ViT, or its weights could not be had from the hub.
    """
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except TypeError as error:
        raise _not_plain(name) from error
    except Exception as error:
        if not pretrained:
            raise
        # The hub's client raises whatever its HTTP library does; for the user it is one thing.
        raise ModelError(
            f"the weights of {name} could not be loaded from the hub ({type(error).__name__}: {error})",
            remedy="connect to the network, or set --model.weights FILE (a local file) or --model.weights random",
        ) from error


def _not_plain(name: str) -> ModelError:
    return ModelError(
        f"timm's {name} is not a plain vision transformer",
        expected="four levels of one stride and width, for images of any size",
        remedy="choose a ViT, for example timm/vit_base_patch16_224.dino",
    )


@dataclass(frozen=True)
class EncoderSpec:
    """An entry of the registry: how to build the encoder and the decoder sizes that go with it."""

    build: Callable[[bool], Encoder]
    features: int
    level_widths: tuple[int, int, int, int]
    on_hub: bool = True


def _dinov2(size: str, taken: tuple[int, ...], features: int, level_widths: tuple[int, int, int, int]) -> EncoderSpec:
    return EncoderSpec(partial(DINOv2, size, taken), features, level_widths)


def _small(width: int, depth: int, heads: int, features: int, level_widths: tuple[int, int, int, int]) -> EncoderSpec:
    return EncoderSpec(lambda _: SmallViT(width, depth, heads), features, level_widths, on_hub=False)


ENCODERS: dict[str, EncoderSpec] = {
    "dinov2_small": _dinov2("small", (2, 5, 8, 11), 64, (48, 96, 192, 384)),
    "dinov2_base": _dinov2("base", (2, 5, 8, 11), 128, (96, 192, 384, 768)),
    "dinov2_large": _dinov2("large", (4, 11, 17, 23), 256, (256, 512, 1024, 1024)),
    "dinov2_giant": _dinov2("giant", (9, 19, 29, 39), 384, (1536, 1536, 1536, 1536)),
    "vit_nano": _small(width=32, depth=4, heads=2, features=16, level_widths=(16, 16, 32, 32)),
    "vit_micro": _small(width=48, depth=4, heads=2, features=24, level_widths=(24, 32, 48, 48)),
}
"""The encoders by name, closed but for `timm/NAME`; DINOv2 with the decoder sizes published with UniMatch V2."""


def encoder_spec(name: str) -> EncoderSpec | None:
    """Return the entry of `name`, None for a `timm/NAME` that timm knows.

    Raises:
        ModelError: neither the registry nor timm knows it.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    prefix, _, timm_name = name.partition("/")
    # A name that timm's registry holds; its "hf-hub:" and "local-dir:" sources would fetch what a config names.
    if prefix == "timm" and ":" not in timm_name and "/" not in timm_name and timm.is_model(timm_name):
        return None
    raise ModelError(
        f"unknown encoder {name!r}{closest(name, ENCODERS)}",
        expected=f"one of {', '.join(ENCODERS)}, or timm/NAME",
        remedy="set --model.encoder to one of these",
    )


def build_encoder(name: str, weights: str) -> Encoder:
    """Build an encoder and give it its weights.

    Args:
        name: a name of `ENCODERS` or "timm/NAME".
        weights: "hub", "random" (from torch's global generator) or the path of a file.

    Raises:
        ModelError: unknown encoder, no such weights, or weights that do not fit.
    """
    spec = encoder_spec(name)
    if weights == "hub" and spec is not None and not spec.on_hub:
        raise ModelError(
            f"there are no published weights of {name}",
            expected="random or the path of a file",
            remedy="set --model.weights random",
        )
    build = spec.build if spec else partial(TimmEncoder, name.partition("/")[2])
    encoder = build(weights == "hub")
    if weights not in ("hub", "random"):
        load_encoder_weights(encoder.core(), Path(weights))
    return encoder
