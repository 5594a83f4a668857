from __future__ import annotations

import pytest
import torch
from torch import nn

from semiseg.errors import ModelError
from semiseg.models.encoders import ENCODERS, build_encoder
from semiseg.models.encoders.plain import SAM, quarters


@pytest.mark.parametrize(
    ("depth", "taken"), [(4, [0, 1, 2, 3]), (6, [1, 2, 4, 5]), (12, [2, 5, 8, 11]), (40, [9, 19, 29, 39])]
)
def test_levels_are_the_ends_of_the_quarters(depth: int, taken: list[int]) -> None:
    assert quarters(depth) == taken


@pytest.mark.parametrize(
    "name", ["timm/efficientformerv2_s0", "timm/hiera_tiny_224", "timm/levit_128s", "timm/xcit_nano_12_p16_224"]
)
def test_what_is_neither_plain_nor_a_pyramid_for_any_size_is_an_error(name: str) -> None:
    with pytest.raises(ModelError, match="neither a plain vision transformer nor a pyramid"):
        build_encoder(name, "random")


@pytest.mark.parametrize("name", ["vit_nano", "dinov2_small"])
def test_levels_are_channels_last_views_of_tokens(name: str) -> None:
    encoder = build_encoder(name, "random")
    level = encoder(torch.randn(2, 3, 3 * encoder.patch, 2 * encoder.patch))[0]
    assert level.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("small_encoders")
def test_registers_are_seen_by_the_patches_and_are_no_part_of_the_levels() -> None:
    encoder = ENCODERS["small_dinov2_reg"].build(False).eval()
    image = torch.randn(1, 3, 28, 42)
    before = encoder(image)
    nn.init.normal_(encoder.core().reg_token)
    after = encoder(image)
    assert [level.shape for level in after] == [(1, 32, 2, 3)] * 4
    assert not torch.allclose(before[0], after[0])


@pytest.mark.usefixtures("small_encoders")
def test_sam_comes_without_the_neck_of_its_own_decoder() -> None:
    encoder = ENCODERS["small_sam"].build(False)
    assert isinstance(encoder, SAM)
    assert not [name for name, _ in encoder.named_parameters() if "neck" in name]
    assert encoder.widths == (32, 32, 32, 32)
