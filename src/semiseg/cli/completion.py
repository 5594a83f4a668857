"""The verb completion: a script that lets a shell complete verbs, options, settings and names of recipes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from semiseg.cli.options import Parser, parser_of
from semiseg.errors import SemisegError

SHELLS = ("bash", "zsh", "fish")

Verbs = Mapping[str, Callable[[list[str]], None]]

_SETTINGS = ("train", "plan", "slurm", "fetch", "check", "suggest")
"""The verbs that take a recipe first, and then settings."""

_FILES = "FILE"
"""What shtab calls a file or a folder."""


def completion_verb(words: list[str], verbs: Verbs, data_verbs: Verbs) -> None:
    """Print a completion script.

    Args:
        words: after the verb.
        verbs: all verbs by name.
        data_verbs: those that follow `data`.
    """
    parser = Parser("completion", "Print a script that lets your shell complete; docs/command-line.md says where to.")
    parser.add_argument("shell", choices=SHELLS)
    shell = parser.parse_args(words).shell
    try:
        import shtab
    except ImportError as error:
        raise SemisegError(
            "completion needs shtab, which is not installed", remedy="pip install 'semiseg[completion]'"
        ) from error
    print(shtab.complete(whole_parser(verbs, data_verbs, shtab), shell))


def whole_parser(verbs: Verbs, data_verbs: Verbs, shtab: Any) -> argparse.ArgumentParser:
    """Return one parser of all verbs, as the shell is to know them."""
    parser = argparse.ArgumentParser(prog="semiseg")
    parser.add_argument("--version", action="store_true", help="print the version")
    below = parser.add_subparsers()
    for name, verb in verbs.items():
        if name == "data":
            under = below.add_parser(name, help="look at data, import labels, make splits").add_subparsers()
            for word, data_verb in data_verbs.items():
                _add(under, word, _parser(word, data_verb), shtab)
        else:
            _add(below, name, _parser(name, verb), shtab)
    return parser


def _parser(name: str, verb: Callable[[list[str]], None]) -> Parser:
    """Return the parser of a verb; one without options where the extra that the verb needs is missing."""
    try:
        return parser_of(verb)
    except SemisegError:
        return Parser(name, "needs an extra that is not installed")


def _add(below: Any, name: str, verb: Parser, shtab: Any) -> None:
    """Add a verb with its options; words that are not of a choice are completed as files."""
    added = below.add_parser(name, help=verb.description, add_help=False)
    actions = list(verb._actions)
    if name in _SETTINGS:
        added.add_argument("recipe", nargs="?", help="a recipe, a YAML file or a data folder").complete = _recipes()
        own = {option for action in actions for option in action.option_strings}
        actions += [action for action in _settings() if own.isdisjoint(action.option_strings)]
    for action in actions:
        if action.choices is None and action.nargs != 0 and not hasattr(action, "complete"):
            action.complete = getattr(shtab, _FILES)  # type: ignore[attr-defined]  # what shtab looks for
        added._add_action(action)


def _settings() -> list[argparse.Action]:
    """Return the settings of a training as options."""
    from semiseg.cli.settings_help import settings_parser

    return settings_parser()._actions


def _recipes() -> dict[str, object]:
    """Return how each shell completes the name of a recipe, or a path."""
    from semiseg.recipes import shipped_recipes

    names = " ".join(shipped_recipes())
    return {
        "bash": "_semiseg_recipes",
        "zsh": f"_alternative 'recipes:recipe:({names})' 'files:file:_files'",
        "fish": f"{names} (__fish_complete_path (commandline -ct))",
        "preamble": {"bash": f'_semiseg_recipes() {{\n  compgen -W "{names}" -- "$1"\n  compgen -f -- "$1"\n}}'},
    }
