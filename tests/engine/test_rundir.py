from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from semiseg.engine.rundir import RunDirectory, begin_run, continue_run, environment, flatten
from semiseg.errors import RunError

CONFIG: dict[str, Any] = {
    "method": "unimatch_v2",
    "optimizer": {"lr": 5e-6, "lr_batch": 16},
    "data": {"root": "/data", "scale": [0.5, 2.0], "split": None, "workers": 2},
}


def changed(key: str, value: object) -> dict[str, Any]:
    room, _, name = key.partition(".")
    return {**CONFIG, room: {**CONFIG[room], name: value}} if name else {**CONFIG, room: value}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def begun(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "runs" / "x")
    begin_run(directory, CONFIG, {"labeled": 4})
    return directory


def test_nested_settings_become_dotted_keys() -> None:
    assert flatten({"a": 1, "b": {"c": {"d": (1, 2)}, "e": None}, "f": {}}) == {"a": 1, "b.c.d": [1, 2], "b.e": None}


def test_a_run_begins_with_its_configuration_and_its_environment(begun: RunDirectory) -> None:
    assert sorted(path.name for path in begun.path.iterdir()) == ["config.yaml", "environment.json"]
    assert yaml.safe_load(begun.config.read_text()) == CONFIG
    assert list(yaml.safe_load(begun.config.read_text())) == list(CONFIG), "in the order of the settings"
    facts = json.loads(begun.environment.read_text())
    assert facts["labeled"] == 4
    assert {"command", "started", "torch", "python", "gpu", "cpu", "threads"} <= facts.keys()
    assert all(isinstance(value, str | int | float) for value in facts.values())


def test_the_environment_names_the_command_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/semiseg", "train", "my folder", "--seed", "1"])
    assert environment()["command"] == "semiseg train 'my folder' --seed 1"


def test_an_empty_directory_is_as_good_as_none(tmp_path: Path) -> None:
    begin_run(RunDirectory(tmp_path), CONFIG, {})
    assert (tmp_path / "config.yaml").is_file()


def test_a_directory_that_holds_anything_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"(?s)not empty.*--resume.*--run\.name"):
        begin_run(RunDirectory(tmp_path), CONFIG, {})
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_a_file_in_the_place_of_the_directory_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(RunError):
        begin_run(RunDirectory(tmp_path / "x"), CONFIG, {})
    assert contents(tmp_path) == {"x": b"mine"}


def test_a_run_continues_with_its_own_settings_and_with_free_ones_changed(begun: RunDirectory) -> None:
    before = contents(begun.path)
    assert continue_run(begun, CONFIG, set()) == []
    assert continue_run(begun, changed("data.scale", (0.5, 2.0)), set()) == []
    assert contents(begun.path) == before
    lines = continue_run(begun, changed("data.workers", 0), {"data.workers"})
    assert lines == ["data.workers: 2 in the run, 0 now"]
    assert continue_run(begun, changed("data.workers", 0), set()) == [], "the run knows its new settings"


@pytest.mark.parametrize(
    ("key", "value"),
    [("method", "fixmatch"), ("optimizer.lr", 5.1e-6), ("data.scale", [0.5, 1.0]), ("data.split", "30")],
)
def test_a_setting_that_differs_is_named_with_both_values(begun: RunDirectory, key: str, value: object) -> None:
    with pytest.raises(RunError) as caught:
        continue_run(begun, changed(key, value), {"data.workers"})
    room, _, name = key.partition(".")
    assert f"{key}: {CONFIG[room][name] if name else CONFIG[room]!r} in the run, {value!r} now" in str(caught.value)
    assert str(caught.value).count(" in the run, ") == 1


def test_all_differing_settings_are_named_at_once_also_new_and_lost_ones(begun: RunDirectory) -> None:
    now = {**changed("optimizer.lr", 1.0), "seed": 3}
    del now["method"]
    with pytest.raises(RunError) as caught:
        continue_run(begun, now, set())
    for key in ("method", "optimizer.lr", "seed"):
        assert f"    {key}: " in str(caught.value)


def test_a_run_that_is_not_there_cannot_continue(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        continue_run(RunDirectory(tmp_path / "x"), CONFIG, set())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "\x00"])
def test_a_damaged_configuration_is_an_error_with_a_remedy(begun: RunDirectory, text: str) -> None:
    begun.config.write_text(text)
    with pytest.raises(RunError, match=r"(?s)damaged.*remedy"):
        continue_run(begun, CONFIG, set())
