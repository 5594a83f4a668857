"""A convolution and the fixed norm after it, as one convolution."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from semiseg.models import ModelConfig, build_segmenter
from semiseg.models.folding import FixedNorm, FoldedConv, folded_for_good

CONVOLUTIONS = {
    "pointwise": nn.Conv2d(6, 8, 1, bias=False),
    "depthwise": nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
    "padding same": Conv2dSame(6, 8, 5, stride=2, bias=False),
}


def norm() -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(8, eps=1e-3)
    generator = torch.Generator().manual_seed(0)
    for tensor in (made.weight, made.bias, made.running_mean, made.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor.data, 0.5, 2, generator=generator)
    return made.double().eval()


def gradients(loss: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, of)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_it_says_and_learns_what_convolution_and_norm_do(name: str) -> None:
    conv, plain = deepcopy(CONVOLUTIONS[name]).double(), norm()
    x = torch.randn(2, conv.in_channels, 9, 7, dtype=torch.float64, requires_grad=True)
    expected = nn.functional.relu6(plain(conv(x)))
    weighted = torch.rand_like(expected)
    learned = x, conv.weight, plain.weight, plain.bias
    wanted = gradients((expected * weighted).sum(), *learned)

    fixed = FixedNorm(plain, nn.ReLU6(inplace=True))
    found = fixed(FoldedConv(conv, fixed)(x))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients((found * weighted).sum(), *learned), wanted)


def test_a_copy_follows_its_own_norm() -> None:
    fixed = FixedNorm(norm(), nn.Identity())
    whole = nn.Sequential(FoldedConv(CONVOLUTIONS["pointwise"], fixed), fixed)
    copied = deepcopy(whole)
    nn.init.zeros_(copied[1].weight)
    nn.init.zeros_(copied[1].bias)
    x = torch.randn(1, 6, 3, 3)
    whole.float()
    copied.float()
    assert whole(x).any()
    assert list(copied.state_dict()) == list(whole.state_dict())
    assert not (copied(x) - copied[0].folded()[1][:, None, None]).any()


def test_a_graph_gets_plain_convolutions_that_say_the_same() -> None:
    model = build_segmenter(ModelConfig(encoder="efficientnet_lite0", weights="random"), num_classes=3).eval()
    plain = folded_for_good(model)
    x = torch.randn(1, 1, 3, 64, 64)
    torch.testing.assert_close(plain(x), model(x))
    assert sum(isinstance(module, FoldedConv) for module in model.modules()) == 48
    assert not any(isinstance(module, FoldedConv) for module in plain.modules())
