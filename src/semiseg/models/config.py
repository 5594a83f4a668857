"""The settings of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Trains = Literal["all", "decoder", "attention"]

MAX_CHANNELS = 2048
"""The most channels of a decoder layer; the published giant has 1536."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network is trained."""

    encoder: str = "dinov2_small"
    """`dinov2_` with `small`, `base`, `large` or `giant` (UniMatch V2, sec. 4), the same with `_reg` (registers), or
    `dinov3_` with `small`, `base` or `large` (needs `license`); `beit_base`, `beit_large`, `sam_base`, `sam_large`,
    `mit_b5` and `resnet152` (UniMatch V2, table 9), also `mit_b0` to `mit_b4` (MiT needs `license` and the extra
    `mit`); `resnet50`, `resnet101`, `xception65` (UniMatch V1); `clip_base` (OpenAI's ViT-B/16),
    `clip_base_text` (the same with levels that can be compared with texts, for SemiVL) and `clip_base_text_resnet` (the
    same with the first stage of a ResNet-101 for detail, SemiVL on Cityscapes); `efficientnet_lite0` (3 M parameters,
    for CPUs), `vit_micro` (small, ours, for training from scratch), `vit_nano` and `clip_nano` (for tests); or
    `timm/NAME` for any plain ViT of timm, or pyramid with strides 4, 8, 16 and 32."""
    neck: str | None = None
    """What stands between encoder and decoder and has weights of its own: `allspark` (the attention of the method of
    that name). Default: nothing."""
    decoder: str = "dpt"
    """The decoder: `dpt` (UniMatch V2), `deeplabv3plus` (UniMatch V1), `segformer` (AllSpark; 768 features) or `semivl`
    (SemiVL; compares the features of `clip_base_text` with the classes' texts)."""
    weights: str = "hub"
    """Where the encoder's weights come from: `hub` (downloaded by timm), `meta` (DINOv2 from Meta's own server, checked
    by its hash), `package` (`efficientnet_lite0`: what the extra `starter` installs, checked by its hash), `random`, or
    a file in Meta's, timm's or open_clip's layout (`.pth`, `.pt`, `.safetensors`). Our own small encoders have no
    published weights: use `random`."""
    license: str | None = None
    """The licence you accept, for weights that are not free for every use: `dinov3` for DINOv3, `segformer` for MiT.
    Only `random` weights need none."""
    features: int | None = None
    """Channels of the decoder's fusion path, 1 to 2048. None: the published size, which is 256 for `deeplabv3plus`, 128
    for `semivl` (a multiple of 16), and for `dpt` goes by the encoder (where none is published, D / 6)."""
    level_widths: tuple[int, int, int, int] | None = None
    """Channels of the four levels of `dpt`, shallow first, each 1 to 2048. None: the published sizes for the encoder,
    else D / 8, D / 4, D / 2, D."""
    text: str | None = None
    """For `semivl`: a file of text embeddings (`.safetensors`, a tensor for each class or concept, by its name).
    Default: CLIP's text encoder (extra `semivl`) computes them once, from the weights that the encoder has; with
    `random` weights they are random too."""
    text_of: Literal["names", "concepts"] = "names"
    """For `semivl`: what features are compared with, the name of each class, or the mean of its concepts in
    `dataset.yaml` (published for Cityscapes)."""
    evidence: bool = False
    """Evidential learning (arXiv 1806.01768): what the decoder gives counts as evidence for the classes where it is
    positive, the logits are log(1 + evidence), both losses are evidential, and `consistency.threshold` is held against
    1 - K / (K + all evidence) instead of the largest probability (published false)."""
    trains: Trains = "all"
    """What learns: everything; `decoder`: all but the encoder (UniMatch V2, table 7); `attention`: of the encoder only
    its attention and position embeddings (SemiVL's spatial fine-tuning), and everything behind it."""
