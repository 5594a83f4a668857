"""The language-guided decoder of SemiVL (arXiv 2311.16241, sec. 3.3): classes by the texts that describe them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models.config import MAX_CHANNELS, ModelConfig
from semiseg.models.decoders.base import Decoder, FeatureHook
from semiseg.models.encoders import Encoder
from semiseg.models.layers import conv3x3, in_float32, resize_bilinear

WIDTH = 128
"""Channels of each class's map, and of its text (published); each enlargement halves them."""

ATROUS_RATES = (6, 12, 18)
GROUP = 16
"""Channels that a group norm takes together, if there are as many."""


def conv_norm(channels: int, out: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """A convolution of one stride, group norm and ReLU."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(channels, out, kernel, padding=padding, dilation=dilation, bias=False)
    parts: dict[str, nn.Module] = {
        "conv": conv,
        "norm": nn.GroupNorm(max(1, out // GROUP), out),
        "relu": nn.ReLU(inplace=True),
    }
    block = nn.Sequential()
    for name, part in parts.items():
        block.add_module(name, part)
    return block


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling (arXiv 1706.05587), added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_norm(channels, channels, 1), *(conv_norm(channels, channels, 3, rate) for rate in ATROUS_RATES)]
        )
        self.whole = conv_norm(channels, channels, 1)
        self.merge = conv_norm((len(self.branches) + 1) * channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        whole_BC11 = self.whole(x_BCHW.mean(dim=(2, 3), keepdim=True))
        found = [*(branch(x_BCHW) for branch in self.branches), whole_BC11.expand_as(x_BCHW)]
        merged_BCHW: Tensor = self.merge(torch.cat(found, dim=1))
        return x_BCHW + merged_BCHW


class ClassAttention(nn.Module):
    """A transformer layer over the classes of each place, which know their texts, on maps that are pooled 4 x 4."""

    def __init__(self, channels: int, text_channels: int, heads: int = 4, pool: int = 4) -> None:
        super().__init__()
        self.pool = pool
        self.layer = nn.TransformerEncoderLayer(
            channels + text_channels,
            heads,
            dim_feedforward=4 * channels,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )

    def forward(self, x_BKCHW: Tensor, text_KC: Tensor) -> Tensor:
        """Map (B, K, C, H, W) to the same shape."""
        batch, classes, channels, height, width = x_BKCHW.shape
        window = (min(self.pool, height), min(self.pool, width))
        pooled = F.avg_pool2d(x_BKCHW.flatten(0, 1), window)
        rows, columns = pooled.shape[2:]
        places_PKC = pooled.view(batch, classes, channels, -1).permute(0, 3, 1, 2).flatten(0, 1)
        told_PKC = torch.cat((places_PKC, text_KC.to(places_PKC.dtype).expand(len(places_PKC), -1, -1)), dim=2)
        mixed_PKC = self.layer(told_PKC)[..., :channels]
        coarse = mixed_PKC.unflatten(0, (batch, -1)).permute(0, 2, 3, 1).reshape(-1, channels, rows, columns)
        mixed_BKCHW = resize_bilinear(coarse, (height, width)).view_as(x_BKCHW)
        return x_BKCHW + mixed_BKCHW


class UpBlock(nn.Module):
    """Enlarge each class's map by two and add the detail of a skip, which all classes of an image share."""

    def __init__(self, channels: int, out: int, skip: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels - skip, kernel_size=2, stride=2)
        self.merge = nn.Sequential(conv_norm(channels, out, 3), conv_norm(out, out, 3))

    def forward(self, x_BKCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        """Map (B, K, C, H, W) to (B, K, out, 2 H, 2 W)."""
        batch, classes = x_BKCHW.shape[:2]
        larger = self.up(x_BKCHW.flatten(0, 1))
        skip = resize_bilinear(skip_BCHW, (larger.shape[2], larger.shape[3])).repeat_interleave(classes, dim=0)
        merged_BKCHW: Tensor = self.merge(torch.cat((larger, skip), dim=1)).unflatten(0, (batch, classes))
        return merged_BKCHW


class LanguageGuided(Decoder):
    """How like each place is to each class's text, and what follows from it: a map for each class.

    The texts are a buffer, so a saved model needs no text encoder. Until `describe` is called they are random.

    Args:
        widths: channels of the shallow levels and of the one that is compared with texts.
        detail: the shallowest level is given one in so many of each class's channels, 4 or 2.
        stride: of the last level, pixels.
        num_classes: K.
        width: channels of each class's map at first.
    """

    text_KC: Tensor

    def __init__(
        self, widths: tuple[int, int, int], detail: int, stride: int, num_classes: int, width: int = WIDTH
    ) -> None:
        super().__init__()
        shallow, deeper, space = widths
        half, quarter = width // 2, width // 4
        skips = (quarter, half // detail)
        self.stride, self.last = stride, quarter
        self.features = num_classes * quarter
        self.register_buffer("text_KC", F.normalize(torch.randn(num_classes, space), dim=1))
        self.project_text = nn.Linear(space, width)
        self.look = nn.Conv2d(1, width, kernel_size=7, padding=3)
        self.pyramid = AtrousPyramid(width)
        self.reason = nn.ModuleList(ClassAttention(width, width) for _ in range(2))
        self.project_skips = nn.ModuleList([conv3x3(deeper, skips[0]), conv3x3(shallow, skips[1])])
        self.enlarge = nn.ModuleList([UpBlock(width, half, skips[0]), UpBlock(half, quarter, skips[1])])
        self.classifier = conv3x3(quarter, 1)

    def describe(self, text_KC: Tensor) -> None:
        """Take the embedding of each class's text, of any length."""
        self.text_KC.copy_(F.normalize(text_KC.to(self.text_KC), dim=1))

    def forward(self, levels_BDHW: Sequence[Tensor], at_features: FeatureHook | None = None) -> Tensor:
        """Decode as every `Decoder`.

        Returns:
            Logits (B, K, H, W) of the image's size. As published they are enlarged without aligned corners.
        """
        shallow, deeper, _, aligned_BCHW = levels_BDHW
        x_BKCHW = self._reasoned(aligned_BCHW)
        for enlarge, project, skip in zip(self.enlarge, self.project_skips, (deeper, shallow), strict=True):
            x_BKCHW = enlarge(x_BKCHW, F.relu(project(skip)))
        features_BFHW = x_BKCHW.flatten(1, 2)
        if at_features is not None:
            features_BFHW = at_features(features_BFHW)
        maps = features_BFHW.unflatten(1, (-1, self.last)).flatten(0, 1)
        logits = in_float32(self.classifier, maps).view(features_BFHW.shape[0], -1, *maps.shape[2:])
        return F.interpolate(logits, size=tuple(self.stride * side for side in aligned_BCHW.shape[2:]), mode="bilinear")

    def _reasoned(self, aligned_BCHW: Tensor) -> Tensor:
        """Compare places with texts and let places, then classes, look at each other: (B, K, C, h, w)."""
        # In float32: bfloat16 has few values between the similarities of two classes.
        with torch.autocast(aligned_BCHW.device.type, enabled=False):
            places_BCHW = F.normalize(aligned_BCHW.float(), dim=1)
            similar_BKHW = torch.einsum("bchw,kc->bkhw", places_BCHW, self.text_KC)
        maps = self.pyramid(self.look(similar_BKHW.flatten(0, 1)[:, None]))
        x_BKCHW: Tensor = maps.unflatten(0, similar_BKHW.shape[:2])
        text_KC = F.relu(self.project_text(self.text_KC))
        for layer in self.reason:
            x_BKCHW = layer(x_BKCHW, text_KC)
        return x_BKCHW


def build_language_guided(encoder: Encoder, config: ModelConfig, num_classes: int) -> LanguageGuided:
    """Build the decoder for an encoder whose last level can be compared with texts.

    Raises:
        ModelError: another encoder, or features that cannot be divided.
    """
    if encoder.texts is None:
        raise ModelError(
            f"the decoder semivl compares features with texts, which those of {config.encoder} cannot be",
            expected="clip_base_text or clip_base_text_resnet",
            remedy="set --model.encoder to one of these, or another --model.decoder",
        )
    width = config.features or WIDTH
    if width % GROUP or not GROUP <= width <= MAX_CHANNELS:
        raise ModelError(
            f"the decoder semivl cannot have {config.features} features",
            expected=f"a multiple of {GROUP} up to {MAX_CHANNELS}",
            remedy="leave --model.features out for the published size",
        )
    shallow, deeper, _, space = encoder.widths
    # A shallow level that is finer than the patches, as that of a ResNet, has more to tell (published: 32, else 16).
    detail = 2 if encoder.strides[0] < encoder.strides[3] else 4
    return LanguageGuided((shallow, deeper, space), detail, encoder.strides[3], num_classes, width)
