"""The registry of methods: a new one is a file and a line."""

from __future__ import annotations

from typing import Any

from semiseg.errors import ConfigError, closest
from semiseg.methods.allspark import AllSpark
from semiseg.methods.base import Method
from semiseg.methods.fixmatch import FixMatch
from semiseg.methods.semivl import SemiVL
from semiseg.methods.supervised import Supervised
from semiseg.methods.unimatch_v1 import UniMatchV1
from semiseg.methods.unimatch_v2 import UniMatchV2

METHODS: dict[str, type[Method[Any]]] = {
    "supervised": Supervised,
    "fixmatch": FixMatch,
    "unimatch_v1": UniMatchV1,
    "unimatch_v2": UniMatchV2,
    "allspark": AllSpark,
    "semivl": SemiVL,
}
"""The methods by name; the settings of each are a section of that name."""


def register_method(name: str, method: type[Method[Any]]) -> None:
    """Add a method of your own, before the configuration is made.

    Args:
        name: how recipes call it, and the key of its settings: a word of letters, digits and `_`.
        method: the class.

    Raises:
        ConfigError: the name is that of another method.
    """
    if METHODS.get(name, method) is not method:
        raise ConfigError(
            f"there is a method {name!r} already", where="the registry of methods", remedy="choose another name"
        )
    METHODS[name] = method


def find_method(name: str) -> type[Method[Any]]:
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
