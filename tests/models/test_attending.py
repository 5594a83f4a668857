"""Attention is written out on a CPU in bf16, and is torch's fused kernel else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from semiseg.models import ModelConfig, attending, build_segmenter
from semiseg.models.attending import choose_attention
from semiseg.models.encoders.plain import TimmEncoder

BF16 = torch.autocast("cpu", torch.bfloat16)


@pytest.fixture
def encoder() -> TimmEncoder:
    return TimmEncoder("vit_tiny_patch16_224", False, embed_dim=32, depth=4, num_heads=2)


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return what the fused kernel is asked with."""
    asked: list[Tensor] = []
    kernel = F.scaled_dot_product_attention

    def watched(query: Tensor, *others: Any, **options: Any) -> Tensor:
        asked.append(query)
        return kernel(query, *others, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    return asked


def encoded(encoder: TimmEncoder, images_BCHW: Tensor) -> list[Tensor]:
    choose_attention(encoder, images_BCHW, encoder.patch)
    levels: list[Tensor] = encoder(images_BCHW)
    return levels


def test_precision_chooses_and_each_pass_anew(encoder: TimmEncoder, fused: list[Tensor]) -> None:
    images_BCHW = torch.randn(2, 3, 64, 64)
    exact = encoded(encoder, images_BCHW)
    assert len(fused) == 4
    with BF16:
        rounded = encoded(encoder, images_BCHW)
    assert len(fused) == 4
    assert all(torch.equal(one, other) for one, other in zip(encoded(encoder, images_BCHW), exact, strict=True))
    assert len(fused) == 8
    for one, other in zip(exact, rounded, strict=True):
        torch.testing.assert_close(other.float(), one, atol=0.05, rtol=0.02)


def test_what_is_written_out_is_within_rounding_of_the_fused_kernel(encoder: TimmEncoder) -> None:
    images_BCHW = torch.randn(2, 3, 64, 64)
    with BF16:
        fused, written = encoder(images_BCHW), encoded(encoder, images_BCHW)
    for one, other in zip(fused, written, strict=True):
        torch.testing.assert_close(one, other, atol=0.05, rtol=0.02)


def test_a_photograph_has_no_scores_in_memory(
    encoder: TimmEncoder, fused: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attending, "MOST_TOKENS", 15)
    with BF16:
        encoded(encoder, torch.randn(1, 3, 64, 64))
    assert len(fused) == 4


def test_what_timm_does_not_fuse_stays_so() -> None:
    module: Any = nn.Module()
    module.fused_attn = False
    for images in (torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)):
        choose_attention(module, images, 16)
        assert module.fused_attn is False


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("encoder", ["dinov2_small", "vit_nano"])
def test_a_gpu_takes_the_flash_kernel(encoder: str) -> None:
    model = build_segmenter(ModelConfig(encoder=encoder, weights="random"), num_classes=3).cuda().train()
    images_BTCHW = torch.randn(1, 1, 3, 112, 112, device="cuda")
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.autocast("cuda", torch.bfloat16):
        loss = model(images_BTCHW).square().mean()
    loss.backward()
