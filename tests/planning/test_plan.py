"""What a training will take, said from a probe of it."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from semiseg.api import recipe_config, train
from semiseg.assembly import run_name
from semiseg.cli import main
from semiseg.data.datasets import load_dataset
from semiseg.errors import DataError
from semiseg.planning import Plan, Setting, plan
from semiseg.planning.settings import of_classes, of_length, of_machine

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def words(tiny_scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [
        *("--data.root", str(tiny_scenes), "--run.folder", str(tmp_path_factory.mktemp("runs")), "--run.name", "x"),
        *("--device", "cpu", "--data.crop", "32", "--data.workers", "0", "--schedule.steps", "3"),
        *("--schedule.batch", "2", "--evaluation.every", "100"),
    ]


@pytest.fixture(scope="module")
def tiny_plan(words: list[str]) -> Plan:
    return plan("demo", words, seconds=0.1)


def test_a_recipe_is_measured_and_stays_as_it_is(tiny_plan: Plan, words: list[str]) -> None:
    assert tiny_plan.settings == ()
    assert shlex.split(tiny_plan.command) == ["semiseg", "train", "demo", *words]
    found = tiny_plan.measured
    assert found.steps >= 1
    assert min(found.step, found.step_cpu, found.image, found.saving) > 0
    assert min(found.memory, found.checkpoint, found.rest) > 2**16
    assert tiny_plan.steps == 3
    assert tiny_plan.evaluations >= 1
    assert tiny_plan.training >= tiny_plan.steps * found.step


def test_nothing_is_kept_and_the_run_can_begin(tiny_plan: Plan, words: list[str]) -> None:
    config = recipe_config("demo", words)
    assert not (Path(config.run.folder) / "x").exists()
    run = train(config)
    assert run.result.steps == tiny_plan.steps
    kept = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    assert tiny_plan.disk == pytest.approx(kept, rel=0.5)


def test_it_says_time_memory_disk_and_the_command(tiny_plan: Plan) -> None:
    lines = tiny_plan.lines()
    assert [line.split()[0] for line in lines[:4]] == ["time", "memory", "disk", "measured"]
    assert lines[-1] == tiny_plan.command


def test_a_folder_without_a_gpu_has_the_small_recipe_in_plan_and_training(
    tiny_scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = recipe_config("laptop", ["--data.root", str(tiny_scenes)])
    assert recipe_config(str(tiny_scenes), ["--device", "cpu"]) == replace(small, device="cpu")
    assert of_machine(CPU, []) == []
    for words in (["--device", "cuda"], ["--device=cuda:1"], ["--model.encoder", "vit_nano"]):
        assert recipe_config(str(tiny_scenes), words).recipe == "default"
    for has_gpu, name in ((True, "default"), (False, "laptop")):
        monkeypatch.setattr("semiseg.config.recipe._has_gpu", lambda found=has_gpu: found)
        assert recipe_config(str(tiny_scenes)).recipe == name
    assert run_name(recipe_config(str(tiny_scenes))) == run_name(
        recipe_config("default", ["--data.root", str(tiny_scenes)])
    )


def test_a_run_is_shortened_to_the_hours_there_are() -> None:
    assert of_length(100, 1.0, 10, None) == []
    assert of_length(100, 1.0, 10, 1.0) == []
    [setting] = of_length(10_000, 1.0, 100, 1.0)
    assert (setting.key, setting.value) == ("schedule.steps", "3600")
    assert "would take 2.8 h" in setting.reason


def test_ohem_is_offered_where_a_class_is_rare(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = recipe_config("demo", words)
    dataset = load_dataset(config.data)
    monkeypatch.setattr("semiseg.planning.settings._RARE", 0.9)
    [offer] = of_classes(config, dataset, [])
    assert offer.words == ("--loss.labeled", "ohem")
    assert of_classes(config, dataset, ["--loss.labeled", "ce"]) == []
    monkeypatch.setattr("semiseg.planning.settings._RARE", 0.0)
    assert of_classes(config, dataset, []) == []


def test_a_batch_that_does_not_fit_is_measured_with_less_kept_then_in_parts(
    words: list[str], tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def probe(task: Any, seconds: float) -> Any:
        asked.append((task.schedule.activation_checkpointing, task.stream.division.accumulate))
        if len(asked) < 3:
            raise torch.OutOfMemoryError("full")
        return tiny_plan.measured

    monkeypatch.setattr(sys.modules["semiseg.planning.plan"], "probe", probe)
    found = plan("demo", words)
    assert [setting.key for setting in found.settings] == [
        "schedule.activation_checkpointing",
        "schedule.per_device",
    ]
    assert asked == [(False, 1), (True, 1), (True, 2)]
    assert all("does not fit" in setting.reason for setting in found.settings)


def test_bad_data_are_named_as_training_names_them(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="in the data folder"):
        plan(str(tmp_path))


def test_the_verb_prints_and_writes_it(
    tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(recipe: str, words: list[str], *, hours: float | None) -> Plan:
        assert (recipe, words, hours) == ("demo", ["--seed", "1"], 2.0)
        return replace(tiny_plan, offers=(Setting("loss.labeled", "ohem", "rare"),))

    monkeypatch.setattr(sys.modules["semiseg.planning"], "plan", planned)
    assert main(["plan", "demo", "--hours", "2", "--seed", "1", "--json", str(tmp_path / "plan.json")]) == 0
    assert "--loss.labeled ohem  (rare)" in capsys.readouterr().out
    assert json.loads((tmp_path / "plan.json").read_text())["steps"] == 3
