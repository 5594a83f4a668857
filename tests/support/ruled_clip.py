"""CLIP's ViT-B/16 with weights that follow the rule of golden figures."""

from __future__ import annotations

import torch
from fidelity import rule  # benchmarks/fidelity.py
from torch import Tensor

from semiseg.models.encoders.clip import CLIP

QUICK = "vit_base_patch16_clip_quickgelu_224.openai"
EXACT = "vit_base_patch16_clip_224.openai"


def ruled_clip() -> dict[str, Tensor]:
    """Return weights in timm's names, with positions in CLIP's own grid of 14 x 14."""
    with torch.device("meta"):
        state = CLIP(QUICK, (0, 4), "", False).core().state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()} | {"pos_embed": (1, 1 + 14**2, 768)}
    weights = {key: rule(f"clip.{key}", shape, gain=1.4) for key, shape in shapes.items()}
    return weights | {"head.bias": torch.zeros(512)}  # timm's own: the published projection has none
