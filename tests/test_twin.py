from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg import twin
from semiseg.api import TrainedRun, train
from semiseg.cli import main
from semiseg.config import Config

Words = Callable[..., list[str]]


def test_a_run_and_its_twin_go_on_after_a_cut_and_the_report_says_who_won(
    tiny_words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = tmp_path / "answer.json"
    words = ["train", *tiny_words("x", "--twin", "--evaluation.every", "1"), "--json", str(answer)]

    def cut(config: Config, **options: bool) -> TrainedRun:
        if config.method == "supervised":
            raise KeyboardInterrupt
        return train(config, **options)

    monkeypatch.setattr(twin, "train", cut)
    assert main(words) == 130
    monkeypatch.undo()
    finished = (tmp_path / "x" / "model" / "model.safetensors").stat().st_mtime_ns
    assert main([*words, "--resume", "auto"]) == 0
    assert (tmp_path / "x" / "model" / "model.safetensors").stat().st_mtime_ns == finished, "trained again"

    found = json.loads(answer.read_text())
    assert found["run"] == str(tmp_path / "x")
    assert found["twin"]["run"] == str(tmp_path / "x-labeled_only")
    assert found["steps"] == found["twin"]["steps"] == 3
    assert "labeled-only" in found["headline"]
    assert found["headline"] in capsys.readouterr().out
    page = (tmp_path / "x" / "report.html").read_text()
    assert found["headline"] in page
    assert 'href="compare.html"' in page
    assert (tmp_path / "x" / "compare.html").is_file()


def test_what_cannot_have_a_twin_is_said_before_anything_is_trained(
    tiny_words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *tiny_words("x", "--twin", "--method", "supervised")]) == 2
    assert "it has no twin" in capsys.readouterr().err
    (tmp_path / "y-labeled_only").mkdir()
    (tmp_path / "y-labeled_only" / "mine.txt").write_text("kept")
    assert main(["train", *tiny_words("y", "--twin")]) == 2
    assert "y-labeled_only" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "y").exists()
