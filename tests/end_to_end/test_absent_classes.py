"""A class that no val mask shows counts as 0 in the mIoU, as published; and whoever reads the figure is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.api import recipe_config, train
from semiseg.cli import main

SAID = "1 of 3 classes are in no val mask: mIoU counts them as 0; over the present classes it would be "


@pytest.fixture
def run(tmp_path: Path, tiny_words: Callable[..., list[str]]) -> Path:
    """Train four steps with several evaluations on val masks of soil and crop, but no weed."""
    root = tmp_path / "fields"
    for part, top in (("train", 3), ("val", 2)):
        for folder in ("images", "masks"):
            (root / folder / part).mkdir(parents=True)
        for seed in range(3):
            rng = np.random.default_rng(seed)
            name = f"{part}/{part}{seed}.png"
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(root / "images" / name)
            Image.fromarray(rng.integers(0, top, (40, 40), dtype=np.uint8)).save(root / "masks" / name)
    (root / "dataset.yaml").write_text("classes: [soil, crop, weed]\n")
    _, *words = tiny_words("run", "--method", "supervised", "--schedule.steps", "4", "--evaluation.every", "1")
    train(recipe_config(str(root), [*words, "--data.labeled_epoch", "4"]))
    return tmp_path / "run"


def test_the_log_says_it_once(run: Path) -> None:
    log = (run / "train.log").read_text()
    assert log.count("mIoU student") > 1
    assert log.count(SAID) == 1


def test_evaluate_marks_the_class_and_gives_both_figures(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--device", "cpu", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    shown = [value for name, value in found["iou"].items() if name != "weed"]
    assert found["absent"] == ["weed"]
    assert found["iou"]["weed"] == 0
    assert found["miou"] == pytest.approx(sum(shown) / 3)
    assert found["miou_present"] == pytest.approx(sum(shown) / 2)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert lines["weed"].endswith("in no val mask")
    assert not lines["crop"].endswith("in no val mask")
    assert f"{SAID}{found['miou_present']:.2%}" == lines["1"]
