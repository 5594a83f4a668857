"""The help of every key of the configuration, from the docstrings below the fields."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
from contextlib import suppress
from dataclasses import is_dataclass
from itertools import pairwise
from textwrap import dedent
from typing import Any, Literal, get_args, get_origin, get_type_hints

from semiseg.config import config_class
from semiseg.config.values import described
from semiseg.methods import METHODS


def settings_help() -> str:
    """Return the help: of each key its meaning, what it takes and its default, section by section."""
    return settings_parser().format_help()


def settings_parser() -> argparse.ArgumentParser:
    """Return a parser that knows every key as an option; it is for help and completion, and checks no values."""
    kind = config_class()
    parser = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    _add_section(parser, "settings, each as --key value; in a recipe, the word before a dot is a section", kind, kind())
    return parser


def _add_section(parser: argparse.ArgumentParser, title: str, kind: type, values: Any, prefix: str = "") -> None:
    """Add the keys of a config dataclass to the help, then its sections."""
    hints, meanings = get_type_hints(kind), field_docs(kind)
    group = parser.add_argument_group(title)
    for name, type_ in hints.items():
        if not is_dataclass(type_):
            takes = Literal[tuple(METHODS)] if prefix + name == "method" else type_
            meaning = f"{meanings.get(name, '')} ({described(takes)}; default: {_as_typed(getattr(values, name))})"
            option = group.add_argument(
                f"--{prefix}{name}", metavar=_metavar(takes), help=meaning.strip().replace("%", "%%")
            )
            option.choices = get_args(takes) if get_origin(takes) is Literal else None
    for name, type_ in hints.items():
        if is_dataclass(type_) and isinstance(type_, type):
            meaning = meanings.get(name) or (inspect.getdoc(type_) or name).splitlines()[0]
            title = f"{meaning.rstrip('.')} ({prefix}{name})"
            _add_section(parser, title, type_, getattr(values, name), f"{prefix}{name}.")


def _metavar(kind: Any) -> str:
    """Return the word that stands for a value of this type."""
    first = next(iter(get_args(kind)), None) if get_origin(kind) not in (Literal, tuple) else None
    if first is not None:  # of `A | B` that of A
        return _metavar(first)
    if get_origin(kind) is Literal:
        return _choice(get_args(kind))
    if get_origin(kind) is tuple:
        return "[" + ",".join("..." if part is ... else _metavar(part) for part in get_args(kind)) + "]"
    return {str: "TEXT", int: "N", float: "X", bool: _choice(("true", "false"))}.get(kind, "VALUE")


def _choice(words: Any) -> str:
    return "{" + ",".join(map(str, words)) + "}"


def _as_typed(value: Any) -> str:
    """Return a value as one would type it."""
    return value if isinstance(value, str) else json.dumps(value)


def field_docs(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass and of those it inherits from, as one line."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        with suppress(OSError, TypeError):  # made at run time, or by an interpreter without sources
            (tree,) = ast.parse(dedent(inspect.getsource(owner))).body
            assert isinstance(tree, ast.ClassDef)
            for line, below in pairwise(tree.body):
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    match below:
                        case ast.Expr(ast.Constant(str(text))):
                            found[line.target.id] = " ".join(text.split())
    return found
