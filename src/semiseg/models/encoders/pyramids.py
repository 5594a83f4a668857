"""Encoders whose levels get coarser and wider: strides 4, 8, 16 and 32. They take images of any size."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from timm.layers.drop import DropPath
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models.encoders.base import Encoder, asking_the_hub, create_timm


class ResNet(Encoder):
    """A ResNet of timm with its batch norms: the samples of a training batch see each other.

    Args:
        name: timm's name.
        pretrained: load timm's weights from the hub.
    """

    patch = 1

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        self.backbone: Any = create_timm(name, pretrained)
        stages = list(self.backbone.feature_info)[1:]
        self.widths, self.strides = (tuple(stage[key] for stage in stages) for key in ("num_chs", "reduction"))
        self.mean, self.std = (tuple(self.backbone.pretrained_cfg[key]) for key in ("mean", "std"))

    def core(self) -> nn.Module:
        """Return timm's module."""
        return cast(nn.Module, self.backbone)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        levels = self.backbone.forward_intermediates(images_BCHW, indices=[1, 2, 3, 4], intermediates_only=True)
        return cast(list[Tensor], levels)


class MiT(Encoder):
    """The mix transformer of SegFormer (arXiv 2105.15203) through segmentation_models_pytorch, an extra.

    Without its stochastic depth: that would draw from torch's global generator, which no run here depends on.

    Args:
        name: "mit_b0" to "mit_b5".
        pretrained: load the weights from the hub.

    Raises:
        ModelError: the extra is not installed, or the weights could not be had.
    """

    patch = 1
    strides = (4, 8, 16, 32)
    least = 32
    """Pixels of a side: the keys of the first stage are one for each 32 x 32."""

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        try:
            encoders = import_module("segmentation_models_pytorch.encoders")
        except ImportError as error:
            raise ModelError(
                f"the encoder {name} needs segmentation_models_pytorch, which is not installed",
                remedy="pip install 'semiseg[mit]'",
            ) from error
        with asking_the_hub(name):
            self.backbone: Any = encoders.get_encoder(name, weights="imagenet" if pretrained else None)
        self.widths = tuple(self.backbone.out_channels[-4:])
        for module in self.backbone.modules():
            if isinstance(module, DropPath):
                module.drop_prob = 0.0

    def core(self) -> nn.Module:
        """Return the module of segmentation_models_pytorch."""
        return cast(nn.Module, self.backbone)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`; sides of at least 32 pixels."""
        height, width = images_BCHW.shape[2:]
        if min(height, width) < self.least:
            raise ModelError(
                f"images of {height} x {width} pixels are too small for a mix transformer",
                expected=f"sides of at least {self.least} pixels",
                remedy="enlarge the images, or choose another encoder",
            )
        return cast(list[Tensor], self.backbone(images_BCHW)[-4:])
