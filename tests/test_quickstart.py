from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from semiseg import quickstart
from semiseg.api import TrainedRun
from semiseg.config import Config
from semiseg.engine.training import TrainingResult
from semiseg.errors import ConfigError, RunError
from semiseg.quickstart import METHODS, demo

TINY = (
    *("--model.encoder", "vit_nano", "--data.crop", "32", "--data.workers", "0", "--device", "cpu"),
    *("--schedule.steps", "2", "--schedule.batch", "2"),
)


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in {"_LABELED": 4, "_UNLABELED": 4, "_VAL": 2}.items():
        monkeypatch.setattr(quickstart, name, count)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Train nothing; return the configurations that would have been trained, as they come."""
    configs: list[Config] = []

    def train(config: Config, *, resume: bool) -> TrainedRun:
        configs.append(config)
        path = Path(config.run.folder) / str(config.run.name)
        (path / "model").mkdir(parents=True, exist_ok=True)
        return TrainedRun(path, TrainingResult(best=len(configs) / 4, best_step=1, steps=1, seconds=1.0))

    monkeypatch.setattr(quickstart, "train", train)
    return configs


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_demo_trains_three_methods_on_the_same_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    summary = demo(out, seed=3, overrides=TINY)
    assert sorted(path.name for path in out.iterdir()) == sorted(["scenes", "demo.json", "summary.json", *METHODS])
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


def test_a_finished_demo_is_shown_again_and_a_fresh_one_replaces_it(
    trained: list[Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".draft-7-0.part").touch()  # as a killed demo leaves it
    first = demo(tmp_path)
    (tmp_path / "fixmatch" / "old").write_text("old")
    before = contents(tmp_path)
    capsys.readouterr()
    assert demo(tmp_path) == first
    assert contents(tmp_path) == before
    assert len(trained) == 3
    assert "3 trainings (3 kept from before; --fresh trains all anew)" in capsys.readouterr().out
    demo(tmp_path, fresh=True)
    assert not (tmp_path / "fixmatch" / "old").exists()
    assert len(trained) == 6


def test_a_demo_of_other_settings_is_no_demo_to_go_on_with(trained: list[Config], tmp_path: Path) -> None:
    demo(tmp_path)
    before = contents(tmp_path)
    for other in ({"seed": 1}, {"task": "change"}, {"overrides": ("--schedule.steps", "3")}):
        with pytest.raises(RunError, match="--fresh"):
            demo(tmp_path, **other)  # type: ignore[arg-type]
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(RunError, match="--fresh"):
        demo(tmp_path)
    (tmp_path / "demo.json").write_bytes(before[tmp_path / "demo.json"])
    assert contents(tmp_path) == before


def test_a_training_whose_model_is_gone_is_done_again(trained: list[Config], tmp_path: Path) -> None:
    demo(tmp_path)
    (tmp_path / "fixmatch" / "model").rmdir()
    demo(tmp_path)
    assert [config.run.name for config in trained[3:]] == ["fixmatch"]


def test_what_no_demo_wrote_is_never_removed(trained: list[Config], tmp_path: Path) -> None:
    """Not even folders of the names that a demo gives its own."""
    mine = [tmp_path / "photos" / name / "a.jpg" for name in ("scenes", "fixmatch")]
    for path in mine:
        path.parent.mkdir(parents=True)
        path.write_text("years")
    for fresh in (False, True):
        with pytest.raises(RunError, match=r"no demo wrote[\s\S]*--out"):
            demo(tmp_path / "photos", fresh=fresh)
        with pytest.raises(RunError, match="no demo wrote"):
            demo(mine[0], fresh=fresh)
    assert contents(tmp_path) == dict.fromkeys(mine, b"years")
    assert trained == []
    demo(tmp_path / "demo")
    (tmp_path / "demo" / "notes.txt").write_text("mine")
    demo(tmp_path / "demo", fresh=True)
    assert (tmp_path / "demo" / "notes.txt").read_text() == "mine"


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
