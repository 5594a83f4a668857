"""Small versions of the encoders that are too large for a test: the code of each family, few channels and blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from semiseg.models.encoders import ENCODERS, Encoder, EncoderSpec
from semiseg.models.encoders.beit import BEiT
from semiseg.models.encoders.clip import CLIP, DetailedCLIP
from semiseg.models.encoders.plain import SAM, TimmEncoder
from semiseg.models.encoders.pyramids import MiT, Pyramid

TAKEN = (0, 1, 2, 3)
SIZES: dict[str, Any] = {"embed_dim": 32, "depth": 4, "num_heads": 2}


def clip_with_texts(pretrained: bool) -> CLIP:
    return CLIP("vit_base_patch16_clip_quickgelu_224.openai", (0, 2), "semiseg-small", pretrained, channels=24, **SIZES)


def clip_with_resnet(pretrained: bool) -> DetailedCLIP:
    return DetailedCLIP(clip_with_texts(pretrained), "test_resnet.r160_in1k", pretrained)


SMALL: dict[str, Callable[[bool], Encoder]] = {
    "small_dinov2_reg": partial(
        TimmEncoder, "vit_small_patch14_reg4_dinov2.lvd142m", taken=TAKEN, init_values=1.0, img_size=70, **SIZES
    ),
    "small_dinov3": partial(TimmEncoder, "vit_small_patch16_dinov3.lvd1689m", taken=TAKEN, init_values=1.0, **SIZES),
    "small_clip": partial(TimmEncoder, "vit_base_patch16_clip_quickgelu_224.openai", taken=TAKEN, **SIZES),
    "small_clip_text": clip_with_texts,
    "small_clip_text_resnet": clip_with_resnet,
    "small_sam": partial(
        SAM, "samvit_base_patch16.sa1b", taken=TAKEN, img_size=80, global_attn_indexes=(1, 3), **SIZES
    ),
    "small_beit": partial(BEiT, "beit_base_patch16_224.in22k_ft_in22k_in1k", TAKEN, img_size=80, **SIZES),
    "small_mit": partial(MiT, "mit_b0"),
    "small_resnet": partial(Pyramid, "test_resnet.r160_in1k"),
    "small_convnext": partial(Pyramid, "test_convnext.r160_in1k"),
    "small_swin": partial(
        Pyramid, "swin_tiny_patch4_window7_224", embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2)
    ),
}


@pytest.fixture(scope="module")
def small_encoders() -> Iterator[None]:
    """Give each small encoder a name in the registry while the tests of a module run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, build in SMALL.items():
            spec = EncoderSpec(build=build, features=16, level_widths=(8, 16, 24, 32))
            patch.setitem(ENCODERS, name, spec)
        yield
