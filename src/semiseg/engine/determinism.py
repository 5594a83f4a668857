"""Sums in the same order every time, for who needs the same bits from a GPU."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic_sums(wanted: bool) -> Iterator[None]:
    """Let torch choose algorithms that add up in one order, where it has them; it warns of those that it lacks.

    On a CPU they are the only ones. On a GPU the backward passes of bilinear resizing and of attention otherwise add up
    as threads come, so that two runs of one seed see the same samples and differ in their last bits.
    """
    if not wanted:
        yield
        return
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    # cuBLAS reads it at its first call: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("once", message=".*does not have a deterministic implementation")
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        torch.backends.cudnn.benchmark = benchmark
