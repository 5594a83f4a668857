"""Versions, and whether the libraries compute what they should."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import torch
import torch.nn.functional as F

from semiseg.machine.check import Check

_SHOWN = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors")

_WHY = {"torch": "; older ones run code from files of weights (CVE-2025-32434, CVE-2026-24747)"}
"""What is wrong with versions below the ones that we ask for, beside that they are not tested."""


def check_platform() -> Check:
    """Look at the package itself, Python and the system."""
    return Check(
        name="semiseg",
        value=f"{_installed('semiseg') or 'from source'}, Python {platform.python_version()}, {platform.platform()}",
    )


def check_libraries() -> Iterator[Check]:
    """Look at the versions of the libraries that there are, against those that we ask for."""
    shown = ", ".join(f"{name} {_installed(name) or 'missing'}" for name in _SHOWN)
    built = f"; CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}" if torch.version.cuda else ""
    yield Check(name="libraries", value=shown + built)
    for requirement in requires("semiseg") or () if _installed("semiseg") else ():
        if fault := _unmet(requirement):
            yield fault


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _unmet(requirement: str) -> Check | None:
    """Return what is wrong with a requirement such as `torch>=2.10`; those of extras may be missing."""
    found = re.fullmatch(r"([\w.-]+)(?:\[.*?\])?>=([\d.]+)", requirement.replace(" ", ""))
    if found is None:
        return None
    name, least = found.groups()
    installed = _installed(name)
    if installed is not None and _number(installed) >= _number(least):
        return None
    return Check(
        name=name,
        value=f"{installed or 'missing'}, needed is {least} or newer{_WHY.get(name, '')}",
        verdict="bad",
        advice=f"pip install '{name}>={least}'",
    )


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])


@dataclass(frozen=True)
class _Known:
    """A fault that some versions of a library have on some devices, and its trial here.

    Attributes:
        what: the fault, in words.
        source: where it is reported.
        trial: computes something small on a device and tells whether it comes out right.
        advice: what to do where it does not.
    """

    what: str
    source: str
    trial: Callable[[torch.device], bool]
    advice: str


def _multiplies(device: torch.device) -> bool:
    ones = torch.ones(64, 64, device=device)
    return bool((ones @ ones == 64).all())


def _convolves_in_bf16(device: torch.device) -> bool:
    ones = torch.ones(1, 1, 2, 2, device=device, dtype=torch.bfloat16)
    return F.conv2d(ones, ones).item() == 4


def _attends_in_bf16(device: torch.device) -> bool:
    """Differentiate an attention whose scores are far below zero; the gradient is finite."""
    query, key, value = (torch.zeros(1, 1, 64, 64, device=device, dtype=torch.bfloat16) for _ in range(3))
    query[..., 0], key[..., 0], value[..., 0] = 1, -960, 1
    query.requires_grad_()
    bias = torch.zeros(1, 1, 64, 64, device=device, dtype=torch.bfloat16)
    F.scaled_dot_product_attention(query, key, value, attn_mask=bias).sum().backward()
    return query.grad is not None and bool(query.grad.isfinite().all())


_KNOWN = (
    _Known(
        "matrix products on this device",
        "a driver too old, or a torch that is built for other devices",
        _multiplies,
        "install the torch that fits the device and its driver: https://pytorch.org/get-started/locally",
    ),
    _Known(
        "convolutions in bf16",
        "https://github.com/pytorch/pytorch/issues/163347",
        _convolves_in_bf16,
        "install another torch, or pass --precision fp32",
    ),
    _Known(
        "gradients of attention with a bias in bf16 (BEiT)",
        "https://github.com/pytorch/pytorch/issues/196678: torch 2.11 and newer on H100 and H200",
        _attends_in_bf16,
        "install another torch, or pass --precision fp32, if a training with BEiT skips steps that are not finite",
    ),
)


def check_results() -> Iterator[Check]:
    """Compute, on each device, what some versions are known to compute wrongly."""
    for name in [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]:
        wrong = [(known, reason) for known in _KNOWN if (reason := _failure(known, torch.device(name)))]
        if not wrong:
            yield Check(name="known faults", value=f"{name} has none of {len(_KNOWN)} that were tried")
        for known, reason in wrong:
            value = f"{known.what} on {name}: {reason} ({known.source})"
            yield Check(name="known faults", value=value, verdict="bad", advice=known.advice)


def _failure(known: _Known, device: torch.device) -> str | None:
    try:
        return None if known.trial(device) else "wrong results"
    except RuntimeError as error:
        return str(error).splitlines()[0]
