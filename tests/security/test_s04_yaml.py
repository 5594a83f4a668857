"""Row S4: YAML of a user, in a recipe, a data set's description or a run directory, is plain, small and shallow."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from semiseg.config import make_config
from semiseg.data.spec import read_spec
from semiseg.data.yaml_file import parse_list, read_yaml
from semiseg.engine.rundir import RunDirectory, continue_run
from semiseg.errors import ConfigError, DataError, RunError, SemisegError
from semiseg.recipes import load_recipe
from semiseg.reporting.record import read_run

BOMB = (
    "classes: [a, b]\n"
    + "a0: &a0 [x, x]\n"
    + "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12))
)
BOMBS = {
    "lists of aliases": (BOMB, "aliases"),
    "mappings of aliases": (BOMB.replace("[x, x]", "{x: y}"), "aliases"),
    "an alias of itself": ("a: &a [*a]", "aliases"),
    "merged": ("a: &a {b: c}\nd:\n  <<: *a", "aliases"),
    "a flow too deep": ("a: " + "[" * 50_000, "nested more than 20 deep"),
    "dashes too deep": ("a:\n" + "- " * 50_000, "nested more than 20 deep"),
    "questions too deep": ("? " * 50_000, "nested more than 20 deep"),
    "indented too deep": ("".join(" " * level + "a:\n" for level in range(400)), "nested more than 20 deep"),
    "too large": ("a: " + "x" * 200_001, "too large"),
    "a key twice": ("a: 1\nb: 2\na: 3", "key 'a' comes twice .* line 3"),
    "a key twice in a flow": ("a: {b: 1, b: 2}", "key 'b' comes twice"),
    "a list as key": ("? [a, b]\n: 1", "key in line 1 is no word"),
    "a mapping as key": ("{a: b}: 1", "key in line 1 is no word"),
    "no character": ("a: \0", "unacceptable character"),
    "two documents": ("a: b\n---\nc: d", "single document"),
}
TAGS = [
    *("python/object/apply:os.mkdir", "python/object/new:os.mkdir", "python/name:os.mkdir", "python/module:os"),
    # Harmless, but PyYAML itself fails on some of them: IndexError, KeyError, AttributeError.
    *("int", "float", "bool", "timestamp", "binary", "set", "omap", "null", "str"),
]


def written(folder: Path, text: str) -> Path:
    (folder / "file.yaml").write_text(text)
    return folder / "file.yaml"


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("typed", [False, True])
def test_s04_what_is_more_than_settings_is_refused_at_once(name: str, typed: bool, tmp_path: Path) -> None:
    text, says = BOMBS[name]
    began = time.process_time()
    with pytest.raises(ConfigError, match=rf"unreadable YAML \(.*{says}.*\)\n  where: .*file\.yaml\n  remedy: "):
        read_yaml(written(tmp_path, text), ConfigError, typed=typed)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("text", ["".join(f"key{line}: value\n" for line in range(12_000)), f"a: [{'1,' * 99_000}]"])
def test_s04_the_largest_file_is_read_in_seconds(text: str, tmp_path: Path) -> None:
    began = time.process_time()
    assert read_yaml(written(tmp_path, text), ConfigError)
    assert time.process_time() - began < 30


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("value", ["['{made}']", "''", "x", "{{a: b}}"])
@pytest.mark.parametrize("typed", [False, True])
def test_s04_a_tag_is_refused_and_nothing_runs(tag: str, value: str, typed: bool, tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = written(tmp_path, f"a: !!{tag} {value.format(made=made)}")
    with pytest.raises(DataError, match=f"unreadable YAML .*tags .*{tag.split(':')[0]}"):
        read_yaml(path, DataError, typed=typed)
    assert not made.exists()


def test_s04_a_list_on_the_command_line_is_as_safe() -> None:
    assert parse_list("[a, 1_8, null]") == ["a", "1_8", None]
    for text in (
        "[" * 50_000,
        "[&a x, *a]",
        "[!!python/name:os.system ]",
        "[!!int '']",
        "[\0]",
        "[a",
        "a",
        "{a: b}",
        "",
    ):
        assert parse_list(text) is None
    with pytest.raises(ConfigError, match=r"data\.scale cannot be"):
        make_config({}, [f"--data.scale={'[' * 50_000}"])


def test_s04_every_reader_refuses_a_bomb(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(BOMB)
    (tmp_path / "dataset.yaml").write_text(BOMB)
    (tmp_path / "metrics.csv").touch()
    reads = {
        ConfigError: lambda: load_recipe(str(tmp_path / "config.yaml")),
        DataError: lambda: read_spec(tmp_path / "dataset.yaml"),
        RunError: lambda: continue_run(RunDirectory(tmp_path), {}, set()),
        SemisegError: lambda: read_run(tmp_path),
    }
    for error, read in reads.items():
        with pytest.raises(error, match="aliases"):
            read()


def test_s04_plain_settings_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "a: {b: [1_8, 'x y'], c: }\nd: 1e-3\n")
    assert read_yaml(path, ConfigError) == {"a": {"b": ["1_8", "x y"], "c": None}, "d": "1e-3"}
    nested = "".join("  " * level + "a:\n" for level in range(19)) + "  " * 19 + "b"
    assert read_yaml(written(tmp_path, nested), ConfigError)


def test_s04_a_file_that_a_run_wrote_has_its_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "a: 1\nb: 0.5\nc: true\nd: '1_8'\ne: null\nf: [1, 2]\n")
    found = read_yaml(path, RunError, typed=True)
    assert found == {"a": 1, "b": 0.5, "c": True, "d": "1_8", "e": None, "f": [1, 2]}
    assert found["c"] is True
