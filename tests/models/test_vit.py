from __future__ import annotations

import torch
import torch.nn.functional as F

from semiseg.models.vit import Attention, Block, ChannelNorm, stem


def test_the_channel_norm_looks_at_one_pixel_alone() -> None:
    x = torch.randn(2, 6, 5, 4)
    y = ChannelNorm(6)(x)
    torch.testing.assert_close(y[1, :, 2, 3], F.layer_norm(x[1, :, 2, 3], (6,)))


def test_attention_is_softmax_of_scaled_products() -> None:
    attention = Attention(width=8, heads=2)
    tokens = torch.randn(3, 5, 8)
    query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = (query[..., part] @ key[..., part].transpose(1, 2) / 4**0.5).softmax(-1)
        heads.append(scores @ value[..., part])
    expected = attention.out(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(tokens), expected, rtol=1e-4, atol=1e-5)


def test_a_block_knows_where_its_tokens_are() -> None:
    torch.manual_seed(0)
    block, x = Block(width=8, heads=2), torch.randn(1, 4, 6, 8)
    assert not torch.allclose(block(x).flip(2), block(x.flip(2)), atol=1e-3)


def test_the_stem_has_stride_eight() -> None:
    assert stem(16)(torch.randn(1, 3, 40, 24)).shape == (1, 16, 5, 3)
