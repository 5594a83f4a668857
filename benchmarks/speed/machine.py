"""What was measured on: the device by name, its matmul rate, and the rate that its maker names."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

NOMINAL = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bf16 FLOP/s by a part of the device's name, from the data sheets of its maker; the first that fits counts."""


_INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "avx512_f": "AVX512", "avx2": "AVX2"}
"""What a processor may have, the best first, as torch names it and as it is said."""


@dataclass(frozen=True)
class Machine:
    """Where a benchmark runs."""

    device: torch.device
    name: str
    quick: bool = False

    @property
    def has_gpu(self) -> bool:
        """Whether there is one."""
        return self.device.type == "cuda"

    def facts(self) -> dict[str, Any]:
        """Return what a figure depends on; matmul rates are measured now."""
        found: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "device": self.name,
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "quick": self.quick,
        }
        kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
        found["matmul_flops"] = {name: self.matmul_rate(kind) for name, kind in kinds.items()}
        if self.has_gpu:
            found["nominal_flops"] = nominal_rate(self.name)
            found["memory"] = torch.cuda.get_device_properties(self.device).total_memory
        return found

    def matmul_rate(self, kind: torch.dtype) -> float:
        """Return FLOP/s of a square matmul: of 8192 on a GPU, else of 2048; the best of three."""
        side = 256 if self.quick else 8192 if self.has_gpu else 2048
        if not self.has_gpu and kind == torch.bfloat16 and not torch.cpu.get_capabilities().get("avx512_bf16", False):
            side = min(side, 512)  # without instructions for it, a tenth of fp32's rate
        left, right = (torch.randn(side, side, device=self.device).to(kind) for _ in range(2))
        calls = 10 if self.has_gpu else 1
        best = 0.0
        for _ in range(4):
            began = time.perf_counter()
            for _ in range(calls):
                left @ right
            if self.has_gpu:
                torch.cuda.synchronize(self.device)
            best = max(best, calls * 2 * side**3 / (time.perf_counter() - began))
        return best


def this_machine(device: str = "auto", *, quick: bool = False) -> Machine:
    """Return the machine; `auto` is the first GPU where there is one."""
    chosen = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else torch.device(device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else processor_name()
    return Machine(chosen, name, quick)


def processor_name() -> str:
    """Return the processor's name and what matters of its instructions."""
    able = torch.cpu.get_capabilities()
    best = next((name for key, name in _INSTRUCTIONS.items() if able.get(key)), "no vector instructions known")
    return f"{_model_name()}, {best}"


def _model_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def nominal_rate(name: str) -> float | None:
    """Return the maker's dense bf16 FLOP/s of a GPU; None where it is not known here."""
    return next((rate for part, rate in NOMINAL.items() if all(word in name for word in part.split())), None)
