"""What this machine can do: the first thing to look at when something does not run."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch

from semiseg.engine.distributed import choose_device
from semiseg.engine.precision import uses_bf16
from semiseg.engine.rundir import environment


def doctor() -> dict[str, Any]:
    """Return versions, devices, precision, cores and free disk space of this machine."""
    facts: dict[str, Any] = environment()
    del facts["started"], facts["command"]
    device = choose_device("auto")
    facts["device"] = str(device)
    facts["precision"] = "bf16" if uses_bf16("auto", device) else "fp32"
    facts["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts["gpus"] = torch.cuda.device_count()
    facts["free_disk_gb"] = round(shutil.disk_usage(".").free / 1e9, 1)
    return facts
