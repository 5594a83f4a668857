"""The methods: one file each, reading like its paper."""

from semiseg.errors import ConfigError, closest
from semiseg.methods.base import Method, Normalize, StepResult
from semiseg.methods.consistency import ConsistencyConfig, pseudo_label
from semiseg.methods.ema import ema_decay, make_teacher, update_teacher
from semiseg.methods.fixmatch import FixMatch, FixMatchConfig
from semiseg.methods.losses import LossConfig
from semiseg.methods.settings import MethodSettings
from semiseg.methods.supervised import Supervised
from semiseg.methods.unimatch_v2 import UniMatchV2, UniMatchV2Config

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "fixmatch": FixMatch,
    "unimatch_v2": UniMatchV2,
}


def find_method(name: str) -> type[Method]:
    """Return the method of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in METHODS:
        raise ConfigError(
            f"unknown method {name!r}{closest(name, METHODS)}",
            where="method",
            expected=", ".join(METHODS),
            remedy="name one of these",
        )
    return METHODS[name]


__all__ = [
    "METHODS",
    "ConsistencyConfig",
    "FixMatchConfig",
    "LossConfig",
    "Method",
    "MethodSettings",
    "Normalize",
    "StepResult",
    "UniMatchV2Config",
    "ema_decay",
    "find_method",
    "make_teacher",
    "pseudo_label",
    "update_teacher",
]
