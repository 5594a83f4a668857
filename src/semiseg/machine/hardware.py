"""Devices, cores and memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from semiseg.data import loader_workers
from semiseg.engine.precision import uses_bf16
from semiseg.machine.check import Check, gigabytes

_DRIVER = Path("/proc/driver/nvidia/version")
_QUOTA, _MEMINFO, _LIMIT = Path("/sys/fs/cgroup/cpu.max"), Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
_LITTLE_MEMORY = 8e9
"""Bytes. Student, average and moments of dinov2_large alone take 5.4 GB, 16 bytes a weight."""


def check_devices() -> Iterator[Check]:
    """Look at each GPU, or why there is none."""
    if not torch.cuda.is_available():
        yield _no_gpu()
    for index in range(torch.cuda.device_count()):
        yield _gpu(index)


def _no_gpu() -> Check:
    driver = _driver()
    if driver is None:
        return Check(
            name="GPU",
            value="none: the CPU computes",
            verdict="note",
            advice="small encoders train in minutes (recipes demo, laptop); dinov2_base wants a GPU",
        )
    built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
    return Check(
        name="GPU",
        value=f"there is a driver ({driver}), but torch {torch.__version__} finds no GPU, and {built}",
        verdict="bad",
        advice="install the torch that fits the driver (https://pytorch.org/get-started/locally), or a newer driver; "
        "CUDA_VISIBLE_DEVICES may also hide the GPU",
    )


def _driver() -> str | None:
    try:
        words = _DRIVER.read_text().split("\n")[0].split()
    except OSError:
        return None
    return next((word for word in words if word[:1].isdigit() and "." in word), words[-1] if words else None)


def _gpu(index: int) -> Check:
    free, total = torch.cuda.mem_get_info(index)
    major, minor = torch.cuda.get_device_capability(index)
    name, busy = torch.cuda.get_device_name(index), free < 0.8 * total
    return Check(
        name=f"cuda:{index}",
        value=f"{name}, {gigabytes(free)} free of {gigabytes(total)}, compute capability {major}.{minor}, "
        f"driver {_driver() or 'unknown'}",
        verdict="note" if busy else "good",
        advice="another process uses its memory: see nvidia-smi, or take another one with --device cuda:N"
        if busy
        else "",
    )


def check_precision() -> Check:
    """Look at whether the device is fast in bf16."""
    if uses_bf16("auto", torch.device("cuda" if torch.cuda.is_available() else "cpu")):
        return Check(name="precision", value="bf16: the device has instructions for it")
    return Check(
        name="precision",
        value="fp32: the device is not fast in bf16",
        verdict="note" if torch.cuda.is_available() else "good",
        advice="it is slower and takes more memory than on a GPU of compute capability 8.0 or more"
        if torch.cuda.is_available()
        else "",
    )


def check_cores() -> Check:
    """Look at the cores that this process may use, and what a container leaves of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    workers = loader_workers(-1, 1)
    value = f"{cores}; a training in one process reads images with {workers} more"
    if quota is None or quota > cores - 0.5:
        return Check(name="CPU cores", value=value)
    fitting = max(0, int(quota) - 1)
    return Check(
        name="CPU cores",
        value=f"{value}; the container may use {quota:g} of them at a time",
        verdict="note",
        advice=f"pass --data.workers {fitting}, and set OMP_NUM_THREADS={max(1, int(quota))}",
    )


def _quota() -> float | None:
    """Return how many cores a control group leaves to this container, or None if all."""
    try:
        allowed, period = _QUOTA.read_text().split()
        return int(allowed) / int(period)
    except (OSError, ValueError):
        return None


def check_memory() -> Check:
    """Look at the memory that is free, and what a container leaves of it."""
    free, total = _memory()
    if total is None:
        return Check(name="memory", value="unknown on this system")
    little = free < _LITTLE_MEMORY
    return Check(
        name="memory",
        value=f"{gigabytes(free)} free of {gigabytes(total)}",
        verdict="note" if little else "good",
        advice="a large encoder may not fit: take a smaller one, --data.workers 0 and a smaller --schedule.per_device"
        if little
        else "",
    )


def _memory() -> tuple[float, float | None]:
    try:
        lines = (line.split() for line in _MEMINFO.read_text().splitlines())
        kilobytes = {words[0].rstrip(":"): float(words[1]) for words in lines if len(words) > 1}
        free, total = kilobytes["MemAvailable"] * 1024, kilobytes["MemTotal"] * 1024
    except (OSError, KeyError, ValueError):
        return 0.0, None
    try:
        limit = float(_LIMIT.read_text())
    except (OSError, ValueError):  # no control group, or "max"
        return free, total
    return min(free, limit), min(total, limit)
