"""One value of a configuration: what its key takes, and how text becomes it.

A file and the command line give text, null and lists of them. Text becomes a number or a truth where the key takes one;
pydantic then decides, strictly, whether the value is of the key's type.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

from semiseg.data.yaml_file import parse_list
from semiseg.errors import ConfigError
from semiseg.printable import printable

_NULLS = ("null", "Null", "NULL", "~")
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def described(kind: Any) -> str:
    """Say in words what a key of this type takes."""
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    parts = [described(part) for part in get_args(kind)]
    if get_origin(kind) is tuple:
        return f"a list [{', '.join(parts)}]"
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null", ...: "..."}
    return " or ".join(parts) or words.get(kind, str(kind))


def of_word(text: str, kind: Any) -> Any:
    """Return a word of the command line as a file gives it: null and `[a, b]` are read where the key takes them."""
    if text in _NULLS and NoneType in get_args(kind):
        return None
    takes_list = tuple in {get_origin(part) for part in (kind, *get_args(kind))}
    listed = parse_list(text) if takes_list else None
    return text if listed is None else listed


def checked(key: str, value: Any, kind: Any, where: object) -> Any:
    """Return a value as its key's type.

    Args:
        key: dotted name of the key.
        value: what was given for it.
        kind: the type of the key.
        where: what it came from, for the message.

    Raises:
        ConfigError: it is of another kind.
    """
    takes = _leaves(kind)
    read = tuple(_read(item, takes) for item in value) if isinstance(value, list | tuple) else _read(value, takes)
    try:
        return _adapter(kind).validate_python(read)
    except ValidationError:
        what, remedy = f"{key} cannot be {shown(value)}", f"correct {key}, or see `semiseg train -h`"
        if value is None:
            what, remedy = f"{key} has no value", f"give {key} a value, or leave the key out"
        raise ConfigError(what, where=where, expected=described(kind), remedy=remedy) from None


def _read(word: Any, takes: set[Any]) -> Any:
    """Turn text into the number or the truth that a key takes; other values, and text that is neither, stay."""
    if not isinstance(word, str):
        return word
    for number in (int, float):
        if number in takes:
            with suppress(ValueError):
                return number(word)
    return _TRUTHS.get(word.lower(), word) if bool in takes else word


def _leaves(kind: Any) -> set[Any]:
    """Return the plain types in a type: of `tuple[int, ...] | None` int, ... and None's."""
    if get_origin(kind) is Literal:
        return {type(value) for value in get_args(kind)}
    return set().union(*map(_leaves, get_args(kind))) or {kind}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # Strict: no truth for a number, no 2.5 for a whole number, no number for text (YAML 1.1 has made 18 of `1_8`).
    return TypeAdapter(
        Annotated[kind, AfterValidator(_in_64_bits)], config=ConfigDict(strict=True, allow_inf_nan=False)
    )


def _in_64_bits(value: Any) -> Any:
    """Refuse whole numbers that neither torch nor NumPy can hold; Python would not even print the largest."""
    numbers = [item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, int)]
    if any(number.bit_length() > 63 for number in numbers):
        raise ValueError
    return value


def shown(value: Any) -> str:
    """Return what was given, for a message."""
    try:
        return shortened(repr(value))
    except ValueError:
        return "a number of thousands of digits"
    except RecursionError:
        return "lists in lists in lists"


def shortened(text: str) -> str:
    """Return the beginning of a text in one line, for a message."""
    text = printable(text)
    return text if len(text) <= 100 else f"{text[:100]}..."
