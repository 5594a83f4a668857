from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from semiseg.engine.config import Precision
from semiseg.engine.inference import Inference
from semiseg.engine.precision import autocast, full_fp32, uses_bf16
from semiseg.methods import StepResult
from semiseg.methods.supervised import Supervised
from semiseg.models import ModelConfig, build_segmenter

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


def allowed() -> list[str]:
    return [torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision]


@pytest.fixture
def tf32_everywhere() -> Iterator[None]:
    before = allowed()
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "tf32"
    yield
    torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before


@pytest.mark.usefixtures("tf32_everywhere")
def test_fp32_is_fp32_and_others_settings_come_back() -> None:
    with full_fp32():
        assert allowed() == ["ieee", "ieee"]
    assert allowed() == ["tf32", "tf32"]


@pytest.mark.usefixtures("tf32_everywhere")
def test_models_are_evaluated_in_fp32_also_on_a_gpu() -> None:
    seen: list[list[str]] = []
    model = build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), 2).eval()
    model.register_forward_hook(lambda *_: seen.append(allowed()))
    inference = Inference(protocol="original", window=8, tile=24, bf16=False)
    for _ in inference.blocks(model, lambda y, x: torch.zeros(1, 1, 3, 40, 16, dtype=torch.uint8)[..., y, x], 40, 16):
        assert allowed() == ["tf32", "tf32"], "whoever takes the scores has settings of its own"
    assert len(seen) > 1
    assert all(settings == ["ieee", "ieee"] for settings in seen)


@pytest.mark.usefixtures("tf32_everywhere")
def test_models_are_trained_in_fp32_also_on_a_gpu(
    train_tiny: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, backward = [], []
    step, real = Supervised.step, torch.Tensor.backward

    def watched_step(self: Supervised, *arguments: Any) -> StepResult:
        forward.append(allowed())
        return step(self, *arguments)

    def watched_backward(loss: torch.Tensor) -> None:
        backward.append(allowed())
        real(loss)

    monkeypatch.setattr(Supervised, "step", watched_step)
    monkeypatch.setattr(torch.Tensor, "backward", watched_backward)
    train_tiny("x", "--method", "supervised")
    assert forward == backward == [["ieee", "ieee"]] * 3
    assert allowed() == ["tf32", "tf32"]
