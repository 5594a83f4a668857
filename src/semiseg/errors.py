"""The errors a user can cause: each message says what is wrong, where, what was expected and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import Self

from semiseg.printable import printable


class SemisegError(Exception):
    """Bad input. The command line prints the message without a traceback and exits with code 2.

    The message is printable: what a file's name or content may hold of control characters stands there as its escape.

    Args:
        what: what is wrong, in one sentence without a full stop.
        where: the file, key or object it was found in.
        expected: what would have been right.
        remedy: what the user can do about it, in the imperative.
    """

    def __init__(self, what: str, *, where: object = None, expected: str | None = None, remedy: str) -> None:
        parts = [what]
        if where is not None:
            parts.append(f"  where:    {printable(str(where)) if isinstance(where, PurePath) else where}")
        if expected is not None:
            parts.append(f"  expected: {expected}")
        parts.append(f"  remedy:   {remedy}")
        super().__init__(printable("\n".join(parts), keep="\n"))

    def __reduce__(self) -> tuple[Callable[[str], SemisegError], tuple[str]]:
        """Come from a loader process as the same error: pickling would call `__init__` with the message alone."""
        return self.of_text, (str(self),)

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return an error with a message that is already complete, for example several messages in one."""
        error = cls.__new__(cls)
        Exception.__init__(error, text)
        return error


class ConfigError(SemisegError):
    """A recipe, an override or a combination of settings that cannot run."""


class DataError(SemisegError):
    """An image, a mask, a list or a folder that cannot be used."""


class ModelError(SemisegError):
    """A model that cannot be built, or weights that do not fit it."""


class FileError(SemisegError):
    """A file that cannot be written: no room, no right, no such disk."""


class RunError(SemisegError):
    """A run directory or a checkpoint that cannot be used."""


class RunStopped(RunError):
    """A run that was asked to stop, and did, with all that it takes to go on.

    Args:
        what: who asked, and what there is.
        remedy: how to go on.
        exit_code: of the process.
    """

    def __init__(self, what: str, *, remedy: str, exit_code: int) -> None:
        super().__init__(what, remedy=remedy)
        self.exit_code = exit_code


def closest(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known name most like `name`, or an empty string if none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def some(names: Sequence[str], shown: int = 10) -> str:
    """Return names for a message: all of a few, else the first ones and how many more there are."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def require_setting(config: object, section: str, name: str, holds: bool, expected: str) -> None:
    """Check a setting.

    Args:
        config: the dataclass that has it.
        section: its key in the whole configuration.
        name: the field.
        holds: whether it is as it must be.
        expected: what it must be, in words.

    Raises:
        ConfigError: it is not.
    """
    if not holds:
        key = f"{section}.{name}"
        raise ConfigError(f"{name} is {getattr(config, name)}", where=key, expected=expected, remedy=f"correct --{key}")
