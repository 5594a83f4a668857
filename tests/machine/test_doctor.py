from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

import semiseg
from semiseg.cli import main
from semiseg.machine import Check, doctor, network


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "hub_silence", lambda: None)


def test_the_doctor_looks_at_everything_and_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    checks = {check.name: check for check in doctor()}
    wanted = {"semiseg", "libraries", "precision", "known faults", "CPU cores", "memory", "disk", "caches"}
    assert wanted | {"shared memory", "open files", "port", "host name", "hub"} <= checks.keys()
    assert semiseg.__version__ in checks["semiseg"].value or "from source" in checks["semiseg"].value
    assert f"torch {torch.__version__.split('+')[0]}" in checks["libraries"].value
    assert all(bool(check.advice) == (check.verdict != "good") for check in checks.values())
    assert json.loads(json.dumps([asdict(check) for check in checks.values()]))
    assert list(tmp_path.iterdir()) == []


def test_the_verb_shows_each_look_with_its_advice_and_ends_with_1_if_one_is_bad(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    checks = [Check(name="disk", value="9 GB"), Check(name="port", value="taken", verdict="note", advice="another one")]
    monkeypatch.setattr("semiseg.machine.doctor", lambda: checks)
    assert main(["doctor", "--json", str(tmp_path / "d.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [["ok", "disk", "9", "GB"], ["note", "port", "taken"]]
    assert lines[2].strip() == "-> another one"
    assert lines[-1] == "1 good, 1 to note, 0 bad"
    assert json.loads((tmp_path / "d.json").read_text()) == {
        "checks": [asdict(check) for check in checks], "good": 1, "note": 1, "bad": 0
    }  # fmt: skip
    checks.append(Check(name="memory", value="none", verdict="bad", advice="buy some"))
    assert main(["doctor"]) == 1
    assert "BAD   memory" in capsys.readouterr().out


def test_a_library_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setitem(__import__("sys").modules, "semiseg.machine", Broken())
    assert main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert "torchvision::nms does not exist" in said
    assert "pip install" in said
