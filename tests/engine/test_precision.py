from __future__ import annotations

import pytest
import torch
from torch import nn

from semiseg.engine.precision import Precision, autocast, uses_bf16

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize(("precision", "expected"), [("fp32", False), ("bf16", True)])
def test_what_is_asked_for_is_done_on_any_device(precision: Precision, expected: bool, device: torch.device) -> None:
    assert uses_bf16(precision, device) is expected


@pytest.mark.parametrize(
    ("capabilities", "expected"), [({"avx512_bf16": True}, True), ({"avx512_bf16": False}, False), ({}, False)]
)
def test_auto_takes_bf16_on_a_cpu_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert uses_bf16("auto", CPU) is expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_auto_takes_bf16_on_a_gpu_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert uses_bf16("auto", GPU) is expected


@pytest.mark.parametrize(("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_products_are_bf16_and_weights_and_gradients_fp32(bf16: bool, dtype: torch.dtype) -> None:
    layer = nn.Linear(4, 4)
    with autocast(bf16, CPU):
        # A forward pass without gradient first, as when the student labels: it must not spoil the one that learns.
        with torch.no_grad():
            layer(torch.rand(2, 4))
        result = layer(torch.rand(2, 4))
    result.float().sum().backward()
    assert result.dtype == dtype
    assert layer.weight.grad is not None
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.abs().sum() > 0
