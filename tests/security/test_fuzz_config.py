"""Any settings and any words on the command line give a configuration or a message, never another exception."""

from __future__ import annotations

import os
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semiseg.config import Config, config_class, keys_of, make_config, to_dict
from semiseg.data.yaml_file import read_yaml
from semiseg.errors import ConfigError

EXAMPLES = settings(
    max_examples=int(os.environ.get("SEMISEG_FUZZ", "200")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
KEYS = [key for key, _ in keys_of(config_class())]

# Words that are numbers, truths, null, lists or YAML to somebody.
TRICKY = [
    *("null", "~", "true", "no", "on", "auto", "ema", "ce", "os.system", "../x", "/dev/zero"),
    *("1", "-1", "0", "1_8", "1e-3", "1e999", "nan", ".inf", "0x10", "007", "1:30", "2026-01-01", "9" * 5000),
    *("[]", "[1]", "[0.5,1]", "[a,b]", "[[a]]", "[null]", "{}", "{a: b}", "&a", "*a", "!", "!!int", "<<", "="),
    *("-", "--", "--seed", "--data.scale=", "", " ", "\n", "\0", "\udcff"),
]
TEXTS = st.one_of(st.sampled_from(TRICKY), st.text(max_size=8))
LEAVES = st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=2))
VALUES = st.recursive(LEAVES, lambda below: st.lists(below, max_size=4) | st.dictionaries(LEAVES, below, max_size=2))


def sections(kind: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Draw settings of which most keys exist."""
    hints = get_type_hints(kind)
    known = {name: sections(type_) | VALUES if is_dataclass(type_) else VALUES for name, type_ in hints.items()}
    some = st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True)
    drawn = some.flatmap(lambda names: st.fixed_dictionaries({name: known[name] for name in names}))
    return st.one_of(
        drawn, st.builds(lambda right, odd: right | odd, drawn, st.dictionaries(LEAVES, VALUES, max_size=1))
    )


OPTIONS = st.sampled_from(KEYS).map("--{}".format)
WORDS = st.one_of(
    OPTIONS.flatmap(lambda option: TEXTS.map(lambda text: [option, text])),
    OPTIONS.flatmap(lambda option: TEXTS.map(lambda text: [f"{option}={text}"])),
    st.lists(TEXTS | OPTIONS, max_size=2),
)
OVERRIDES = st.lists(WORDS, max_size=4).map(lambda groups: [word for group in groups for word in group])


def made(given: Any, overrides: list[str]) -> Config | None:
    """Return the configuration; None if it is refused as it should be."""
    config, message = None, "remedy:"
    try:
        config = make_config(given, overrides, where="fuzz")
    except ConfigError as error:
        message = str(error)
    assert "remedy:" in message
    assert len(message) < 2000
    return config


@EXAMPLES
@given(sections(config_class()), OVERRIDES)
def test_settings_and_words_give_a_configuration_or_a_message(given: dict[str, Any], overrides: list[str]) -> None:
    config = made(given, overrides)
    if config is not None:
        assert make_config(to_dict(config)) == config


@EXAMPLES
@given(VALUES, OVERRIDES)
def test_anything_in_place_of_settings_is_refused_or_read(given: Any, overrides: list[str]) -> None:
    made(given, overrides)


@EXAMPLES
@given(st.lists(st.tuples(st.sampled_from(KEYS), TEXTS), max_size=3))
def test_words_give_what_the_same_text_in_a_file_gives(pairs: list[tuple[str, str]]) -> None:
    """But for null and lists, which only the command line has to find in its text."""
    plain = {key: text for key, text in pairs if text not in ("null", "~") and not text.startswith("[")}
    nested: dict[str, Any] = {}
    for key, text in plain.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = text
    assert made(nested, []) == made({}, [f"--{key}={text}" for key, text in plain.items()])


YAML = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from([*"[]{}:,-?|>&*!%@`#'\"\n \t~<", *(f" {word} " for word in TRICKY), "\n  ", ": "])).map(
        "".join
    ),
    sections(config_class()).map(lambda given: yaml.dump(given, Dumper=_Plain)),
)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@EXAMPLES
@given(text=YAML)
@pytest.mark.parametrize("typed", [False, True])
def test_any_file_is_read_or_refused_with_its_name(text: str, typed: bool, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    given, message = {}, "mine.yaml"
    try:
        given = read_yaml(path, ConfigError, typed=typed)
    except ConfigError as error:
        message = str(error)
    assert "mine.yaml" in message
    made(given, [])
