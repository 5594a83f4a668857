from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.cli import main
from semiseg.cli.progress import shown_progress
from semiseg.data.palette import default_palette
from semiseg.engine import progress
from semiseg.models import ModelCard, ModelConfig, build_segmenter, save_model


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_without_a_terminal_a_line_comes_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("images") as show:
        show(20, 120)  # of an earlier command
        for done in range(21, 121):
            clock.now += 2
            show(done, 120)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "35/120 images, 2 m 50 s left"
    assert len(lines) == 200 // 30


def test_what_is_done_soon_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("images") as show:
        show(0, 2)
        clock.now += 29
        show(2, 2)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_bar_shows_the_count_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with shown_progress("images") as show:
        show(3, 7)
        show(7, 7)
    assert "images" in terminal.getvalue()
    assert "7/7" in terminal.getvalue()


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_verb_shows_how_far_it_is(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(encoder="vit_nano", weights="random")
    card = ModelCard(classes=("field", "road"), palette=default_palette(2), crop=32, model=config)
    save_model(tmp_path / "model", build_segmenter(config, 2), card)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "data/dataset.yaml").write_text("classes: [field, road]\n")
    for name in "abc":
        Image.new("RGB", (16, 16)).save(tmp_path / f"data/images/{name}.png")
        Image.fromarray(np.eye(16, dtype=np.uint8)).save(tmp_path / f"data/masks/{name}.png")
    words = {
        "evaluate": ["--data.root", str(tmp_path / "data")],
        "predict": [str(tmp_path / "data/images"), "--out", str(tmp_path / "out")],
    }
    monkeypatch.setattr(progress, "_PAUSE", -1.0)
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    assert main([verb, str(tmp_path / "model"), *words[verb], "--device", "cpu"]) == 0
    assert "3/3 images" in errors.getvalue()
