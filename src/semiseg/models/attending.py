"""How tokens look at each other is one computation; which way is fastest depends on device and precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOST_TOKENS = 2048
"""Tokens of an image up to which their scores, one for each pair and head, may be held: those of a crop of 630 pixels
at patch 14. A photograph would have scores of gigabytes."""


def is_written_out(images_BCHW: Tensor, patch: int) -> bool:
    """Whether attention is to be written out: on a CPU in bf16, for images of a crop's size.

    There torch's fused kernel is slower: a step of DINOv2-S at crop 322 took 3.13 s with it and 2.47 s without (two
    cores with AVX512-BF16). In fp32 it was faster, 4.55 against 5.30 s.

    Args:
        images_BCHW: what is encoded.
        patch: pixels of a token's side.
    """
    if images_BCHW.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    height, width = images_BCHW.shape[2:]
    return torch.get_autocast_dtype("cpu") == torch.bfloat16 and height * width <= MOST_TOKENS * patch**2


def choose_attention(encoder: nn.Module, images_BCHW: Tensor, patch: int) -> None:
    """Let timm's attention take torch's fused kernel, as by itself, or be written out where that is faster.

    It stays so until the next pass: blocks that run again for their gradients have to do the same again.

    Args:
        encoder: whose modules are told; those that timm does not fuse by itself stay as they are.
        images_BCHW: what it is about to encode.
        patch: pixels of a token's side.
    """
    if images_BCHW.device.type != "cpu":
        return
    out = is_written_out(images_BCHW, patch)
    module: Any
    for module in encoder.modules():
        if getattr(module, "fused_attn", False) and out:
            module.fused_attn, module.unfused_for_now = False, True
        elif getattr(module, "unfused_for_now", False) and not out:
            module.fused_attn, module.unfused_for_now = True, False
