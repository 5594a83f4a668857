"""Text of unknown origin, such as a file's name, in a form that cannot act on a terminal, a log or a page."""

from __future__ import annotations

import unicodedata


def printable(text: str, *, keep: str = "") -> str:
    r"""Return `text` with every character that is not plain writing as its escape: ESC becomes `\x1b`.

    Escaped are control characters, line breaks, marks that turn the direction of writing, and halves of characters,
    which is how Python holds the bytes of a file name that is not UTF-8. Spaces of every kind stay.

    Args:
        text: any text.
        keep: characters to leave alone, such as a line break.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character in keep or _is_plain(character) else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _is_plain(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"
