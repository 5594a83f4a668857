from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg import assembly, fetching
from semiseg.api import recipe_config
from semiseg.cli import main
from semiseg.errors import ModelError
from semiseg.models import ModelConfig, Segmenter, build_segmenter


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[ModelConfig]:
    """Return the models that were built, each from random weights, whatever was asked for."""
    asked: list[ModelConfig] = []

    def build(config: ModelConfig, num_classes: int, frames: int = 1, seed: int = 0) -> Segmenter:
        asked.append(config)
        return build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), num_classes, frames)

    monkeypatch.setattr(fetching, "build_segmenter", build)
    return asked


def test_lists_and_weights_are_brought_here(
    built: list[ModelConfig], published_splits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pascal/92-unimatch_v2-dinov2_base", "--data.root", str(tmp_path), "--data.splits", str(published_splits)]
    assert main(["fetch", *words, "--json", str(tmp_path / "f.json")]) == 0
    lists = [published_splits / "pascal" / name for name in ("92/labeled.txt", "92/unlabeled.txt", "val.txt")]
    assert [(config.encoder, config.weights) for config in built] == [("dinov2_base", "hub")]
    assert capsys.readouterr().out.splitlines() == [
        *(f"list     {path}" for path in lists),
        "weights  dinov2_base from hub",
    ]
    found = json.loads((tmp_path / "f.json").read_text())
    assert found == {"lists": [str(path) for path in lists], "weights": "dinov2_base from hub"}


def test_what_a_method_needs_is_fetched_too(
    built: list[ModelConfig], tiny_words: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, *words = tiny_words("x")
    asked: list[object] = []
    monkeypatch.setattr(fetching, "build_method", lambda *given: asked.append(given[0].method))
    fetched = fetching.fetch(recipe_config(folder, words))
    assert [path.name for path in fetched.lists] == ["labeled.txt", "unlabeled.txt", "val.txt"]
    assert asked == ["unimatch_v2"]
    assert assembly.build_method is not fetching.build_method


def test_what_cannot_be_fetched_is_an_error_before_the_job_waits_in_a_queue(
    tiny_words: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder, *words = tiny_words("x", "--model.weights", str(tmp_path / "missing.pth"))
    with pytest.raises(ModelError, match=r"missing\.pth"):
        fetching.fetch(recipe_config(folder, words))
