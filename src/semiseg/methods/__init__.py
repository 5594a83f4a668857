"""The methods: one file each, reading like its paper."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semiseg.methods.base import Method, StepResult
    from semiseg.methods.consistency import pseudo_label
    from semiseg.methods.context import Context, Normalize
    from semiseg.methods.ema import ema_decay, make_teacher, update_teacher
    from semiseg.methods.registry import METHODS, find_method, register_method
    from semiseg.methods.settings import ConsistencyConfig, LossConfig, NoSettings, SharedSettings

# Loaded on first use: the settings of this room are read without torch, which takes seconds to import.
_HOMES = {
    "METHODS": "semiseg.methods.registry",
    "ConsistencyConfig": "semiseg.methods.settings",
    "Context": "semiseg.methods.context",
    "LossConfig": "semiseg.methods.settings",
    "Method": "semiseg.methods.base",
    "NoSettings": "semiseg.methods.settings",
    "Normalize": "semiseg.methods.context",
    "SharedSettings": "semiseg.methods.settings",
    "StepResult": "semiseg.methods.base",
    "ema_decay": "semiseg.methods.ema",
    "find_method": "semiseg.methods.registry",
    "make_teacher": "semiseg.methods.ema",
    "pseudo_label": "semiseg.methods.consistency",
    "register_method": "semiseg.methods.registry",
    "update_teacher": "semiseg.methods.ema",
}

__all__ = [
    "METHODS",
    "ConsistencyConfig",
    "Context",
    "LossConfig",
    "Method",
    "NoSettings",
    "Normalize",
    "SharedSettings",
    "StepResult",
    "ema_decay",
    "find_method",
    "make_teacher",
    "pseudo_label",
    "register_method",
    "update_teacher",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
