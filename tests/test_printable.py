from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semiseg.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 'quoted' <b> =1+1 \\n", "plain, 'quoted' <b> =1+1 \\n"),
        ("Wälder 森\u3000雨\u00a0x", "Wälder 森\u3000雨\u00a0x"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b[31mred\x07\x00\x7f\x9b", "\\x1b[31mred\\x07\\x00\\x7f\\x9b"),
        ("\u202egnp.exe \u2028", "\\u202egnp.exe \\u2028"),
        (os.fsdecode(b"n\xe9"), "n\\udce9"),
    ],
)
def test_what_could_act_is_shown_as_its_escape_and_writing_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_line_break_can_be_kept() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_one_line_of_utf_8_without_controls_and_stays_so(text: str) -> None:
    shown = printable(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    assert len(shown.splitlines()) <= 1
    assert printable(shown.encode("utf-8").decode("utf-8")) == shown
