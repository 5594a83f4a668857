"""The decoder and the segmenter in plain PyTorch, fp32 and NCHW."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from benchmarks.speed.plain.encoders import plain_encoder
from torch import Tensor, nn

from semiseg.models import Segmenter


def _conv(channels: int, out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel_size=3, stride=stride, padding=1, bias=bias)


def _enlarged(x_BCHW: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x_BCHW, size=tuple(size), mode="bilinear", align_corners=True)


class Unit(nn.Module):
    """A residual unit of DPT."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(features, features), _conv(features, features)

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """ReLU, 3x3, ReLU, 3x3, added."""
        out: Tensor = self.conv2(F.relu(self.conv1(F.relu(x_BFHW))))
        return out + x_BFHW


class Fusion(nn.Module):
    """A fusion block of DPT in the published order: enlarge, then the 1x1 convolution."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.skip, self.merge = Unit(features), Unit(features)
        self.out = nn.Conv2d(features, features, kernel_size=1)

    def forward(self, path_BFHW: Tensor, skip_BFHW: Tensor | None, size: Sequence[int]) -> Tensor:
        """Merge a skip into the path and enlarge the sum."""
        if skip_BFHW is not None:
            path_BFHW = path_BFHW + self.skip(skip_BFHW)
        out: Tensor = self.out(_enlarged(self.merge(path_BFHW), size))
        return out


class DPT(nn.Module):
    """The decoder; its sizes are read from the weights that it takes."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        features = len(state["output.weight"])
        widths = [state[f"project.{level}.weight"].shape[:2] for level in range(4)]
        self.project = nn.ModuleList(nn.Conv2d(width, channels, kernel_size=1) for channels, width in widths)
        self.resize = nn.ModuleList(_change(state.get(f"resize.{level}.weight"), level) for level in range(4))
        self.reduce = nn.ModuleList(_conv(channels, features, bias=False) for channels, _ in widths)
        self.fuse = nn.ModuleList(Fusion(features) for _ in range(4))
        self.output = _conv(features, features)
        self.classifier = nn.Conv2d(features, len(state["classifier.weight"]), kernel_size=1)
        self.load_state_dict(state)
        self.fuse[3].skip.requires_grad_(False)  # the deepest block has no skip

    def forward(self, levels_BDHW: Sequence[Tensor]) -> Tensor:
        """Decode four levels to logits of half or a quarter of the image's sides."""
        stages = zip(levels_BDHW, self.project, self.resize, self.reduce, strict=True)
        skips = [reduce(resize(project(level))) for level, project, resize, reduce in stages]
        path = self.fuse[3](skips[3], None, skips[2].shape[2:])
        path = self.fuse[2](path, skips[2], skips[1].shape[2:])
        path = self.fuse[1](path, skips[1], skips[0].shape[2:])
        path = self.fuse[0](path, skips[0], [2 * side for side in skips[0].shape[2:]])
        logits: Tensor = self.classifier(F.relu(self.output(path)))
        return logits


def _change(weight: Tensor | None, level: int) -> nn.Module:
    """Return what brings a level of a ViT to its stride; the levels of a pyramid are there already."""
    if weight is None:
        return nn.Identity()
    channels = len(weight)
    if level == 3:
        return _conv(channels, channels, stride=2)
    factor = (4, 2)[level]
    return nn.ConvTranspose2d(channels, channels, kernel_size=factor, stride=factor)


class PlainSegmenter(nn.Module):
    """Encoder and decoder with the weights that a student has now."""

    def __init__(self, student: Segmenter) -> None:
        super().__init__()
        device = student.mean.device
        self.encoder = plain_encoder(student)
        self.decoder = DPT(student.decoder.state_dict())
        self.patch, self.num_classes, self.width = student.patch, student.num_classes, student.width
        self.to(device)

    def forward(self, images_BCHW: Tensor, keep_BD: Tensor | None = None) -> Tensor:
        """Return logits (B, K, H, W); `keep_BD` multiplies the channels of the four levels."""
        levels = self.encoder(images_BCHW)
        if keep_BD is not None:
            levels = [level * keep_BD[:, : level.shape[1], None, None] for level in levels]
        return _enlarged(self.decoder(levels), images_BCHW.shape[2:])
