"""What pages name is there: settings, verbs and options of the command line; what they say of recipes is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from semiseg.cli import VERBS
from semiseg.cli.data import DATA_VERBS
from semiseg.cli.settings_help import settings_parser
from semiseg.config.recipe import recipe_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_settings_that_a_page_names_exist(page: Path) -> None:
    known = {word for action in settings_parser()._actions for word in action.option_strings}
    named = set(re.findall(r"--[a-z_]+\.[a-z_.]*[a-z_]", page.read_text(encoding="utf-8")))
    assert named - known - {"--section.key"} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_verbs_that_a_page_names_exist(page: Path) -> None:
    lines = re.findall(r"^(?:\$ )?semiseg ([a-z]+)(?: ([a-z]+))?", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [verb for verb, _ in lines if verb not in VERBS] == []
    assert [after for verb, after in lines if verb == "data" and after not in DATA_VERBS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_recipes_are_as_long_as_a_page_says(page: Path) -> None:
    said = re.findall(r"([\d,]+)\s+(steps|epochs) of\s+`([\w/-]+)`", page.read_text(encoding="utf-8"))
    for length, unit, name in said:
        assert getattr(recipe_config(name).schedule, unit) == int(length.replace(",", "")), name
