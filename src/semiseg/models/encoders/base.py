"""What every encoder is, and how one is had from timm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import timm
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models.hub import asking_the_hub
from semiseg.models.weights import timm_names

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_SPATIAL = re.compile(r"\.(attn|attention)\.|pos_embed$")

Four = tuple[int, int, int, int]
"""A number for each level, shallow first."""


class Encoder(nn.Module):
    """What every encoder is: images in, four feature maps out, shallow first.

    Attributes:
        patch: image sides are multiples of it, pixels; 1 where any size will do.
        widths: channels D of each level.
        strides: pixels between the features of each level. A plain ViT has one stride and one width.
        mean: per-channel mean of the images it was trained on, on a scale of 0 to 1.
        std: the standard deviation to the mean.
        texts: open_clip's name of the model whose texts the last level can be compared with; None: there is none.
    """

    patch: int
    widths: Four
    strides: Four
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    texts: str | None = None

    @property
    def width(self) -> int:
        """The channels of the widest level."""
        return max(self.widths)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode normalised images (B, 3, H, W) to four maps (B, D, H / stride, W / stride), rounded up."""
        raise NotImplementedError

    def deepest(self, images_BCHW: Tensor) -> Tensor:
        """Return the last level alone."""
        level_BDHW: Tensor = self(images_BCHW)[-1]
        return level_BDHW

    def attention(self) -> list[nn.Parameter]:
        """Return what places look at each other with: the parameters of attention and the position embeddings.

        Raises:
            ModelError: the encoder has none.
        """
        found = [p for name, p in self.named_parameters() if _SPATIAL.search(name)]
        if not found:
            raise ModelError(
                f"{type(self).__name__} has no attention to train",
                expected="a vision transformer",
                remedy="set --model.trains all or decoder, or choose another encoder",
            )
        return found

    def blocks_in_order(self) -> list[nn.Module]:
        """Return the blocks that follow one another, each called with what the one before gave; none are known."""
        lists = [module for name, module in self.named_modules() if name.rpartition(".")[2] == "blocks"]
        return [block for blocks in lists for block in blocks.children()]

    def core(self) -> nn.Module:
        """Return the module whose state dict a file of encoder weights carries."""
        return self

    def adapt(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a file of encoder weights as `core` wants them."""
        return timm_names(tensors, self.core().state_dict())


def alike(number: int) -> Four:
    """Return the number for each level of a plain ViT."""
    return (number, number, number, number)


def create_timm(name: str, pretrained: bool, **options: Any) -> Any:
    """Build timm's encoder `name`, without a classifier unless `num_classes` is among the options.

    Raises:
        NotPlainError: it does not know the options of a plain ViT.
        ModelError: its weights could not be had from the hub.
    """
    try:
        with asking_the_hub(name) if pretrained else nullcontext():
            return timm.create_model(name, pretrained=pretrained, **{"num_classes": 0, **options})
    except TypeError as error:
        raise not_plain(name) from error


class NotPlainError(ModelError):
    """A model of timm is no plain ViT."""


def not_plain(name: str) -> NotPlainError:
    """Return the error that a model of timm is not a plain ViT."""
    return NotPlainError(
        f"timm's {name} is not a plain vision transformer",
        expected="four levels of one stride and width, for images of any size",
        remedy="choose a ViT, for example timm/vit_base_patch16_224.dino",
    )
