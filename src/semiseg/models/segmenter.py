"""The segmenter: an encoder, the fusion of a sample's frames, and a decoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from semiseg.errors import ModelError, closest
from semiseg.models.dpt import DPT, resize_bilinear
from semiseg.models.encoders import Encoder, build_encoder, encoder_spec
from semiseg.seeding import torch_rng

MAX_CHANNELS = 2048
"""The most channels of a decoder layer; the published giant has 1536."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network is trained."""

    encoder: str = "dinov2_small"
    """`dinov2_` with `small`, `base`, `large` or `giant` (UniMatch V2, sec. 4), the same with `_reg` (registers), or
    `dinov3_` with `small`, `base` or `large` (needs `license`); `beit_base`, `beit_large`, `sam_base`, `sam_large`,
    `mit_b5` (needs `license` and the extra `mit`) and `resnet152` (UniMatch V2, table 9); `clip_base` (OpenAI's
    ViT-B/16); `vit_micro` (small, ours, for training from scratch), `vit_nano` (for tests); or `timm/NAME` for any
    plain ViT of timm."""
    decoder: Literal["dpt"] = "dpt"
    """The decoder; `dpt` is the one of UniMatch V2."""
    weights: str = "hub"
    """Where the encoder's weights come from: `hub` (downloaded by timm), `meta` (DINOv2 from Meta's own server, checked
    by its hash), `random`, or a file in Meta's or timm's layout (`.pth`, `.pt`, `.safetensors`). Our own small encoders
    have no published weights: use `random`."""
    license: str | None = None
    """The licence you accept, for weights that are not free for every use: `dinov3` for DINOv3, `segformer` for MiT.
    Only `random` weights need none."""
    features: int | None = None
    """Channels of the decoder's fusion path, 1 to 2048. None: the published size for the encoder, else D / 6."""
    level_widths: tuple[int, int, int, int] | None = None
    """Channels of the decoder's four levels, shallow first, each 1 to 2048. None: the published sizes for the encoder,
    else D / 8, D / 4, D / 2, D."""
    freeze_encoder: bool = False
    """Train the decoder only (UniMatch V2, table 7)."""


class Segmenter(nn.Module):
    """Images in, logits out; change detection is the same network with two frames.

    Args:
        encoder: gives four levels.
        decoder: turns them into logits.
        config: what it was built from.
        num_classes: K.
        frames: T, 1 for segmentation, 2 for change detection.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, decoder: DPT, config: ModelConfig, num_classes: int, frames: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.config = config
        self.num_classes = num_classes
        self.frames = frames
        self.patch = encoder.patch
        self.width = encoder.width
        self.register_buffer("mean", torch.tensor(encoder.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(encoder.std).view(3, 1, 1), persistent=False)
        if config.freeze_encoder:
            encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> Segmenter:
        """Set the mode; a frozen encoder stays in evaluation mode, lest its batch norms learn."""
        super().train(mode)
        if self.config.freeze_encoder:
            self.encoder.eval()
        return self

    def normalize(self, images_BTCHW: Tensor) -> Tensor:
        """Bring images to the scale of the encoder: uint8 0..255 or float 0..1 in, normalised float32 out."""
        if images_BTCHW.dtype == torch.uint8:
            images_BTCHW = images_BTCHW.float() / 255
        return (images_BTCHW.float() - self.mean) / self.std

    def forward(
        self,
        images_BTCHW: Tensor,
        keep_BD: Tensor | None = None,
        keep_at: Literal["encoder", "classifier"] = "encoder",
    ) -> Tensor:
        """Segment normalised images.

        Args:
            images_BTCHW: normalised, T frames, H and W multiples of the patch.
            keep_BD: factors for the channels of each sample, or None. At the encoder (B, D), with D the width of the
                widest level, the same for all levels after the frames are fused; a narrower level takes the first
                channels. At the classifier (B, F), with F the decoder's features.
            keep_at: where `keep_BD` multiplies (UniMatch V2, sec. 3.3 and table 12).

        Returns:
            Logits (B, K, H, W) in float32, also under autocast.

        Raises:
            ModelError: another number of frames, or a side that is not a multiple of the patch.
        """
        self._check(images_BTCHW)
        levels = self.encode(images_BTCHW)
        keep_features = None
        if keep_at == "classifier":
            keep_features = keep_BD
        elif keep_BD is not None:
            levels = [level * keep_BD[:, : level.shape[1], None, None].to(level.dtype) for level in levels]
        logits = self.decoder(levels, keep_features)
        # In float32 before it is enlarged: the loss needs float32 anyway, and interpolated bfloat16 would have steps.
        height, width = images_BTCHW.shape[-2:]
        return resize_bilinear(logits.float(), (height, width))

    def encode(self, images_BTCHW: Tensor) -> list[Tensor]:
        """Encode all frames in one pass and fuse them: the frame itself, or |A - B| at each of the four levels."""
        levels: list[Tensor] = self.encoder(images_BTCHW.flatten(0, 1))
        if self.frames == 1:
            return levels
        pairs = [level.unflatten(0, (-1, self.frames)) for level in levels]
        return [(pair[:, 0] - pair[:, 1]).abs() for pair in pairs]

    def _check(self, images: Tensor) -> None:
        if images.ndim != 5 or images.shape[1:3] != (self.frames, 3):
            raise ModelError(
                f"the images have the shape {tuple(images.shape)}",
                expected=f"(B, {self.frames}, 3, H, W)",
                remedy=f"give {self.frames} RGB frame(s) for each sample",
            )
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch or not height or not width:
            nearest = [max(1, round(side / self.patch)) * self.patch for side in (height, width)]
            raise ModelError(
                f"images of {height} x {width} pixels do not divide into patches",
                expected=f"sides that are multiples of {self.patch}",
                remedy=f"resize or crop to {nearest[0]} x {nearest[1]}",
            )


def build_segmenter(config: ModelConfig, num_classes: int, frames: int = 1, seed: int = 0) -> Segmenter:
    """Build a segmenter; what is random in it is a function of the seed, and the global generator stays untouched.

    Args:
        config: which network.
        num_classes: K >= 1.
        frames: 1 for segmentation, 2 for change detection.
        seed: of the random initialisation; the encoder and the decoder have streams of their own.

    Raises:
        ModelError: unknown encoder, impossible sizes, weights that cannot be had or do not fit, or a licence that was
            not accepted.
    """
    _check_sizes(config, num_classes, frames)
    with _seeded(seed, "init encoder"):
        encoder = build_encoder(config.encoder, config.weights, config.license)
    features, level_widths = decoder_sizes(config, encoder.width)
    with _seeded(seed, "init decoder"):
        decoder = DPT(encoder.widths, encoder.strides, features, level_widths, num_classes)
    return Segmenter(encoder, decoder, config, num_classes, frames)


def decoder_sizes(config: ModelConfig, width: int) -> tuple[int, tuple[int, int, int, int]]:
    """Return the features and level widths of the decoder: as configured, else published, else from the width D.

    The rule for other encoders continues the published sizes of DINOv2 S and B: D / 6 (to a multiple of 8) and
    D / 8, D / 4, D / 2, D.
    """
    spec = encoder_spec(config.encoder)
    features = spec.features if spec else max(8, width // 48 * 8)
    level_widths = spec.level_widths if spec else (width // 8, width // 4, width // 2, width)
    return config.features or features, config.level_widths or level_widths


def _check_sizes(config: ModelConfig, num_classes: int, frames: int) -> None:
    if config.decoder != "dpt":
        raise ModelError(f"unknown decoder {config.decoder!r}{closest(config.decoder, ['dpt'])}", remedy="use dpt")
    widths = [config.features, *(config.level_widths or ())]
    if any(width is not None and not 1 <= width <= MAX_CHANNELS for width in widths) or len(widths) not in (1, 5):
        raise ModelError(
            f"the decoder cannot have features {config.features} and level_widths {config.level_widths}",
            expected=f"features and four level widths of 1 to {MAX_CHANNELS} channels",
            remedy="leave both out for the published sizes",
        )
    if num_classes < 1 or frames not in (1, 2):
        raise ModelError(
            f"a model of {num_classes} classes and {frames} frames cannot be built",
            expected="at least one class; 1 frame (segmentation) or 2 (change detection)",
            remedy="check the classes of the dataset",
        )


@contextmanager
def _seeded(seed: int, purpose: str) -> Iterator[None]:
    """Let torch's global CPU generator, which initialisers draw from, be that of a purpose for a while."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch_rng(seed, purpose).get_state())
        yield
