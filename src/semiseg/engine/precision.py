"""What models compute in: bf16 in matmuls and convolutions, on devices that are fast at it; all else is fp32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from semiseg.engine.config import Precision


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Return whether to compute in bf16: as asked for, or for `auto` where the hardware has instructions for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # On a CPU with AVX512-BF16 or AMX: 2048^3 matmul 730 against 169 GFLOP/s (2 cores of an AMD EPYC, 2026-11-20).
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def autocast(bf16: bool, device: torch.device) -> torch.autocast:
    """Return the context in which models run."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


@contextmanager
def full_fp32() -> Iterator[None]:
    """Compute what is fp32 in fp32, with 23 bits after the point.

    A GPU would take 10 of them (TF32) for convolutions, by default, and for matmuls, where somebody allowed it: too few
    for the confidence of a pixel, and not what `--precision fp32` promises. What runs in bf16 is not slower for it.
    """
    products = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]  # set at runtime
    before = [product.fp32_precision for product in products]
    for product in products:
        product.fp32_precision = "ieee"
    try:
        yield
    finally:
        for product, precision in zip(products, before, strict=True):
            product.fp32_precision = precision
