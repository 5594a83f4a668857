"""The registry of methods: a new one is a file and two lines, or a call of `register_method`."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from semiseg.errors import ConfigError, closest
from semiseg.methods.settings import AllSparkConfig, FixMatchConfig, NoSettings, SemiVLConfig, UniMatchV2Config

if TYPE_CHECKING:
    from semiseg.methods.base import Method

_HOMES = {
    "Supervised": "semiseg.methods.supervised",
    "FixMatch": "semiseg.methods.fixmatch",
    "UniMatchV1": "semiseg.methods.unimatch_v1",
    "UniMatchV2": "semiseg.methods.unimatch_v2",
    "AllSpark": "semiseg.methods.allspark",
    "SemiVL": "semiseg.methods.semivl",
}
_SHIPPED: dict[str, tuple[str, type]] = {
    "supervised": ("Supervised", NoSettings),
    "fixmatch": ("FixMatch", FixMatchConfig),
    "unimatch_v1": ("UniMatchV1", NoSettings),
    "unimatch_v2": ("UniMatchV2", UniMatchV2Config),
    "allspark": ("AllSpark", AllSparkConfig),
    "semivl": ("SemiVL", SemiVLConfig),
}
"""The methods of the package by name: the class of each, and that of its settings."""


class _Methods(MutableMapping[str, "type[Method[Any]]"]):
    """Methods by name; one of the package is imported when it is asked for, as that takes the seconds of torch."""

    def __init__(self) -> None:
        self._found: dict[str, type[Method[Any]] | None] = dict.fromkeys(_SHIPPED)

    def __getitem__(self, name: str) -> type[Method[Any]]:
        method = self._found[name]
        if method is None:
            kind = _SHIPPED[name][0]
            method = self._found[name] = getattr(import_module(_HOMES[kind]), kind)
        return method

    def __setitem__(self, name: str, method: type[Method[Any]]) -> None:
        self._found[name] = method

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def settings(self) -> dict[str, type]:
        """Return the class of each method's settings, without importing a method of the package for it."""
        return {
            name: _SHIPPED[name][1] if method is None else method.config_class for name, method in self._found.items()
        }


METHODS = _Methods()
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
    require_method(name)
    return METHODS[name]


def require_method(name: str) -> None:
    """Check that there is a method of a name, without importing it.

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
