"""What the verbs share: a parser that raises our errors, and results as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

from semiseg.errors import ConfigError


class _Asked(Exception):
    """A parser is wanted, and not what its verb does."""


_wanted: ContextVar[bool] = ContextVar("_wanted", default=False)


class Parser(argparse.ArgumentParser):
    """Raises our error instead of exiting, and takes no abbreviations."""

    def __init__(self, verb: str, description: str, **options: Any) -> None:
        super().__init__(prog=f"semiseg {verb}", description=description, allow_abbrev=False, **options)
        self.add_argument("--json", type=_json_file, metavar="FILE", help="also write the result as JSON")

    def parse_recipe(self, words: list[str]) -> tuple[str, argparse.Namespace, list[str]]:
        """Part a command's words into the recipe that leads them, the verb's own options, and settings of a training.

        Raises:
            ConfigError: a word stands where only settings may follow.
        """
        recipe = take_recipe(words)
        known, overrides = self.parse_known_args(words)
        if overrides and not overrides[0].startswith("-"):
            raise ConfigError(
                f"{overrides[0]!r} after an option", expected="the recipe first", remedy=f"see `{self.prog} -h`"
            )
        return recipe, known, overrides

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, unless `parser_of` wants the parser itself."""
        if _wanted.get():
            raise _Asked(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> Any:
        """Raise our error."""
        raise ConfigError(message, remedy=f"see `{self.prog} -h`")


def parser_of(verb: Callable[[list[str]], None]) -> Parser:
    """Return the parser that a verb makes; the verb itself goes no further.

    Args:
        verb: makes its parser, and uses it, before it does anything else.
    """
    token = _wanted.set(True)
    try:
        verb([])
    except _Asked as asked:
        return cast(Parser, asked.args[0])
    finally:
        _wanted.reset(token)
    raise AssertionError(f"{verb} parsed nothing")


def _json_file(name: str) -> Path:
    """Refuse a folder now, not after hours of training."""
    if Path(name).is_dir():
        raise argparse.ArgumentTypeError(f"{name} is a folder")
    return Path(name)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write a result where `--json` was given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def take_recipe(words: list[str]) -> str:
    """Take the recipe off the front of a command's words; `default` where none is named."""
    return words.pop(0) if words and not words[0].startswith("-") else "default"
