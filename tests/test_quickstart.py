from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from semiseg import quickstart
from semiseg.api import TrainedRun
from semiseg.config import Config
from semiseg.data.scenes import write_scenes
from semiseg.engine.training import TrainingResult
from semiseg.errors import ConfigError, RunError
from semiseg.quickstart import METHODS, demo

TINY = (
    *("--model.encoder", "vit_nano", "--data.crop", "32", "--data.workers", "0", "--device", "cpu"),
    *("--schedule.steps", "2", "--schedule.batch", "2"),
)


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "write_scenes", partial(write_scenes, labeled=4, unlabeled=4, val=2, size=64))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Train nothing; return the configurations that would have been trained, as they come."""
    configs: list[Config] = []

    def train(config: Config) -> TrainedRun:
        configs.append(config)
        path = Path(config.run.folder) / str(config.run.name)
        path.mkdir()
        return TrainedRun(path, TrainingResult(best=len(configs) / 4, best_step=1, steps=1, seconds=1.0))

    monkeypatch.setattr(quickstart, "train", train)
    return configs


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_demo_trains_three_methods_on_the_same_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    summary = demo(out, seed=3, overrides=TINY)
    assert sorted(path.name for path in out.iterdir()) == sorted(["scenes", "summary.json", *METHODS])
    assert json.loads((out / "summary.json").read_text()) == summary
    assert summary.keys() == {*METHODS, "seconds"}
    assert summary["seconds"] > 0
    for name, method in METHODS.items():
        config: dict[str, Any] = yaml.safe_load((out / name / "config.yaml").read_text())
        assert (config["recipe"], config["method"], config["seed"]) == ("demo", method, 3)
        assert config["data"]["root"] == str(out / "scenes")
        assert config["model"]["encoder"] == "vit_nano", "the overrides hold for all three"
        card = json.loads((out / name / "model" / "config.json").read_text())
        assert card["metrics"]["miou"] == summary[name]["miou"]
        assert (out / name / "report.html").is_file()
    printed = capsys.readouterr().out
    for label in ("labeled-only", "FixMatch", "UniMatch V2", "semiseg predict"):
        assert label in printed


def test_the_table_compares_with_labeled_only(
    trained: list[Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo(tmp_path / "demo")
    assert [config.method for config in trained] == ["supervised", "fixmatch", "unimatch_v2"]
    lines = capsys.readouterr().out.splitlines()
    rows = {label: line for line in lines for label in ("labeled-only", "FixMatch", "UniMatch V2") if label in line}
    assert "25.0%" in rows["labeled-only"]
    assert "+0.0" in rows["labeled-only"]
    assert "50.0%" in rows["FixMatch"]
    assert "+25.0" in rows["FixMatch"]
    assert "+50.0" in rows["UniMatch V2"]


def test_an_earlier_demo_is_kept_unless_a_fresh_one_is_asked_for(trained: list[Config], tmp_path: Path) -> None:
    demo(tmp_path)
    (tmp_path / "fixmatch" / "old").write_text("old")
    before = contents(tmp_path)
    with pytest.raises(RunError, match="--fresh"):
        demo(tmp_path)
    assert contents(tmp_path) == before
    demo(tmp_path, fresh=True)
    assert not (tmp_path / "fixmatch" / "old").exists()
    assert len(trained) == 6


@pytest.mark.parametrize("fresh", [False, True])
def test_what_is_no_demo_is_never_removed(trained: list[Config], tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(RunError, match="not empty"):
        demo(tmp_path, fresh=fresh)
    with pytest.raises(RunError):
        demo(tmp_path / "thesis.txt", fresh=fresh)
    assert contents(tmp_path) == {tmp_path / "thesis.txt": b"years"}
    assert trained == []


def test_the_demo_of_change_detection_trains_two_methods_on_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    summary = demo(out, task="change", overrides=TINY)
    assert summary.keys() == {"labeled_only", "unimatch_v2", "seconds"}
    for name in ("labeled_only", "unimatch_v2"):
        card = json.loads((out / name / "model" / "config.json").read_text())
        assert card["frames"] == 2
        assert card["metrics"]["changed_iou"] == summary[name]["changed_iou"]
    assert "changed IoU" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="did you mean 'change'"):
        demo(tmp_path / "other", task="chang")
    assert not (tmp_path / "other").exists()
