"""Encoders whose levels get coarser and wider: strides 4, 8, 16 and 32, or 16 where the last stage is dilated."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from importlib import import_module
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models.encoders.base import Encoder, Four, NotPlainError, create_timm
from semiseg.models.folding import FixedNorm, FoldedConv
from semiseg.models.hub import asking_the_hub


class Convolutional(Encoder):
    """An encoder of timm with batch norms: the samples of a training batch see each other.

    Args:
        name: timm's name.
        pretrained: load timm's weights from the hub.
        **options: of timm's model, for example `output_stride`.
    """

    patch = 1

    def __init__(self, name: str, pretrained: bool, **options: Any) -> None:
        super().__init__()
        self.backbone: Any = create_timm(name, pretrained, **options)
        self.mean, self.std = (tuple(self.backbone.pretrained_cfg[key]) for key in ("mean", "std"))

    def core(self) -> nn.Module:
        """Return timm's module."""
        return cast(nn.Module, self.backbone)

    def adapt(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors as timm names them; the ResNets published with UniMatch V1 have its names.

        Old files do not count the batches that a norm has seen. Nothing here reads the count.
        """
        wanted = self.core().state_dict()
        counts = {key: value for key, value in wanted.items() if key.endswith("num_batches_tracked")}
        return counts | super().adapt(tensors)


class Pyramid(Convolutional):
    """The last four stages of a hierarchy of timm, for example a ResNet, without its last norm and its head.

    The levels are what timm's module hands on from stage to stage. Where a side is no multiple of a stride, some of
    timm's modules round the sides of a level down instead of up.

    Args:
        name: timm's name.
        pretrained: load timm's weights from the hub.
        **options: of timm's model. An `output_stride` of 16 dilates the last stage as published with UniMatch V1: its
            first block by 1, the others by 2.

    Raises:
        ModelError: timm's model is no such hierarchy, or takes images of one size only.
    """

    def __init__(self, name: str, pretrained: bool, **options: Any) -> None:
        try:  # Swin and its relatives take one size unless they are told otherwise; the others do not know the word.
            super().__init__(name, pretrained, strict_img_size=False, **options)
        except NotPlainError:
            super().__init__(name, pretrained, **options)
        stages = list(getattr(self.backbone, "feature_info", []))
        strides = [stage["reduction"] for stage in stages[-4:]]
        if strides[:3] != [4, 8, 16] or not hasattr(self.backbone, "forward_intermediates"):
            raise no_pyramid(name)
        self.strides = cast(Four, tuple(strides))
        self.widths = cast(Four, tuple(stage["num_chs"] for stage in stages[-4:]))
        self.taken = list(range(len(stages)))[-4:]
        self.backbone.prune_intermediate_layers(self.taken, prune_norm=True, prune_head=True)
        self.patch = self._smallest_patch(name)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        levels = self.backbone.forward_intermediates(images_BCHW, indices=self.taken, intermediates_only=True)
        return cast(list[Tensor], levels)

    @torch.no_grad()
    def _smallest_patch(self, name: str) -> int:
        """Return what sides have to be multiples of, found by trying, as timm does not tell."""
        device = next(self.parameters()).device
        self.eval()
        for patch in (1, 4, 32):
            try:
                self(torch.zeros(1, 3, 64 + patch, 96 + patch, device=device))
            except (AssertionError, RuntimeError):
                continue
            self.train()
            return patch
        raise no_pyramid(name)


def no_pyramid(name: str) -> ModelError:
    """Return the error that a model of timm has not the levels that an encoder needs."""
    return ModelError(
        f"timm's {name} is neither a plain vision transformer nor a pyramid",
        expected="four levels of one stride, or of strides 4, 8, 16 and 32, for images of any size",
        remedy="choose a ViT, for example timm/vit_base_patch16_224.dino, or a timm/resnet18.a1_in1k",
    )


class EfficientNetLite(Pyramid):
    """EfficientNet-Lite through timm, its batch norms at the averages of its pre-training.

    The few crops of a step would give averages of their own, and labeled crops other ones than strong views. Scale and
    shift of the norms learn. No stochastic depth.

    Args:
        name: timm's name.
        pretrained: load timm's weights from the hub.
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__(name, pretrained)
        fix_norms(self.backbone)
        # As it was trained: (value - 127) / 128. timm says 0.5 for both, half a grey value beside it.
        self.mean, self.std = 3 * (127 / 255,), 3 * (128 / 255,)

    def adapt(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors as timm names them, without the classifier and what counts a norm's batches.

        Files of EfficientNet-PyTorch's layout, where the blocks of all stages are numbered through, have the same
        tensors in the same order.
        """
        tensors = {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
        if "_conv_stem.weight" not in tensors:
            return {
                key: value
                for key, value in tensors.items()
                if not key.startswith(("conv_head.", "bn2.", "classifier."))
            }
        kept = [value for key, value in tensors.items() if not key.startswith(("_conv_head.", "_bn1.", "_fc."))]
        return dict(zip(self.core().state_dict(), kept, strict=False))


def fix_norms(module: nn.Module) -> None:
    """Replace the batch norms below a module of timm by ones whose averages stay as they are.

    Each follows a convolution, which takes its scale and shift in.
    """
    before: tuple[str, nn.Module] = ("", module)
    for name, child in module.named_children():
        if isinstance(child, BatchNormAct2d):
            norm = FixedNorm(child, child.act)
            setattr(module, before[0], FoldedConv(cast(nn.Conv2d, before[1]), norm))
            setattr(module, name, norm)
        elif isinstance(child, nn.Conv2d):
            before = (name, child)
        else:
            fix_norms(child)


class Xception(Convolutional):
    """The Xception-65 of DeepLabV3+ (arXiv 1802.02611) at output stride 16, as UniMatch V1 uses it on COCO.

    As published, the exit flow is not dilated, the norms move by 0.0003 a step, and the first level is what the second
    block has before its last, strided convolution. One thing differs: timm, like the original, adds the input of a
    middle block to its output, where the public code of UniMatch V1 adds the input after its ReLU. So weights of
    timm's layout load, and those published with UniMatch V1 do not.

    Args:
        name: timm's name.
        pretrained: load timm's weights from the hub.
    """

    widths = (256, 256, 728, 2048)
    strides = (4, 8, 16, 16)

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__(name, pretrained, output_stride=16)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0003
            elif isinstance(module, nn.Conv2d) and module.dilation == (2, 2):
                module.dilation = module.padding = (1, 1)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        entry, second, third, *rest = self.backbone.blocks
        x_BDHW = entry(self.backbone.stem(images_BCHW))
        fine_BDHW = second.stack[:-2](x_BDHW)
        middle_BDHW = second.stack[-1](F.relu(fine_BDHW)) + second.shortcut(x_BDHW)
        coarse_BDHW = third(middle_BDHW)
        deepest_BDHW = coarse_BDHW
        for block in rest:
            deepest_BDHW = block(deepest_BDHW)
        return [fine_BDHW, middle_BDHW, coarse_BDHW, deepest_BDHW]


class MiT(Encoder):
    """The mix transformer of SegFormer (arXiv 2105.15203) through segmentation_models_pytorch, an extra.

    In training it skips blocks of an image at random, the last one with a chance of 0.1 (stochastic depth).

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
        with asking_the_hub(name) if pretrained else nullcontext():
            self.backbone: Any = encoders.get_encoder(name, weights="imagenet" if pretrained else None)
        self.widths = tuple(self.backbone.out_channels[-4:])

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
