from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import Page

import semiseg
from semiseg.api import TrainedRun
from semiseg.cli import main


def test_two_trainings_are_compared_on_one_page(
    train_tiny: Callable[..., TrainedRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labeled = train_tiny("labeled", "--method", "supervised")
    semi = train_tiny("semi", "--method", "unimatch_v2")
    capsys.readouterr()

    result = tmp_path / "result.json"
    words = ["compare", str(labeled.path), str(semi.path), "--out", str(tmp_path / "both.html"), "--device", "cpu"]
    assert main([*words, "--json", str(result)]) == 0

    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == str(tmp_path / "both.html")
    found = json.loads(result.read_text())
    assert [setting["mean"] for setting in found["settings"]] == [labeled.result.best, semi.result.best]
    assert all(setting["seconds_per_step"] > 0 and setting["steps"] == [3] for setting in found["settings"])
    assert all(setting["parameters"] > 1000 and setting["val"] == 2 for setting in found["settings"])
    page = Page((tmp_path / "both.html").read_text(encoding="utf-8"))
    assert found["headline"] in page.text
    assert found["headline"] in shown
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 2 * 4, "of two val images four pictures each"
    assert page.text.count("labeled-only") > 4


def test_python_compares_too(train_tiny: Callable[..., TrainedRun], tmp_path: Path) -> None:
    runs = [train_tiny(f"seed{seed}", "--seed", str(seed)).path for seed in (0, 1)]
    found = semiseg.compare(runs, tmp_path, device="cpu")
    [setting] = found.settings
    assert len(setting.best.values) == 2
    assert "in 2 runs" in found.verdict.headline
