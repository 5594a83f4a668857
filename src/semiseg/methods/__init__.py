"""The methods: one file each, reading like its paper."""

from semiseg.methods.base import Method, NoSettings, SharedSettings, StepResult
from semiseg.methods.consistency import ConsistencyConfig, pseudo_label
from semiseg.methods.context import Context, Normalize
from semiseg.methods.ema import ema_decay, make_teacher, update_teacher
from semiseg.methods.losses import LossConfig
from semiseg.methods.registry import METHODS, find_method, register_method

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
