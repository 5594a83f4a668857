from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import semiseg
from semiseg.api import TrainedRun, evaluate, recipe_config
from semiseg.assembly import divide, run_name
from semiseg.config import Config, RunConfig, make_config
from semiseg.data import DataConfig
from semiseg.engine.config import ScheduleConfig
from semiseg.engine.distributed import Processes
from semiseg.errors import ConfigError, DataError, SemisegError

CPU = torch.device("cpu")


# The public face


@pytest.mark.parametrize("name", semiseg.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(semiseg, name).__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"semiseg.*'trian'"):
        semiseg.trian  # noqa: B018


# Configurations


def test_a_configuration_begins_as_a_recipe_a_file_or_a_folder(tmp_path: Path) -> None:
    assert recipe_config("camvid-cpu").model.encoder == "efficientnet_lite0"
    (tmp_path / "own.yaml").write_text("seed: 3\n")
    assert (recipe_config(str(tmp_path / "own.yaml")).recipe, recipe_config(str(tmp_path / "own.yaml")).seed) == (
        "own",
        3,
    )
    folder = recipe_config(str(tmp_path), ["--seed", "5", "--model.encoder", "vit_nano"])
    assert (folder.recipe, folder.data.root, folder.seed) == ("default", str(tmp_path), 5)
    assert recipe_config(str(tmp_path), ["--data.root", "other"]).data.root == "other"


def test_a_wrong_key_names_the_recipe_it_stands_in(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("sede: 3\n")
    with pytest.raises(ConfigError, match=r"(?s)unknown key 'sede'; did you mean 'seed'.*own\.yaml"):
        recipe_config(str(tmp_path / "own.yaml"))


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default-unimatch_v2-seed0"),
        (["--data.root", "photos/my fields/"], "my fields-unimatch_v2-seed0"),
        (["--data.root", "/"], "default-unimatch_v2-seed0"),
        (["--data.root", "CamVid", "--data.spec", "camvid"], "camvid-unimatch_v2-seed0"),
        (["--recipe", "mine", "--data.root", "fields"], "mine-fields-unimatch_v2-seed0"),
        (["--recipe", "fields/7-fixmatch", "--data.root", "fields"], "fields-7-fixmatch-unimatch_v2-seed0"),
        (["--seed", "3", "--method", "fixmatch"], "default-fixmatch-seed3"),
        (["--data.split", "1_8"], "default-unimatch_v2-1_8-seed0"),
        (["--data.split", "lists/few/"], "default-unimatch_v2-few-seed0"),
        (["--run.name", "mine", "--seed", "3"], "mine"),
    ],
)
def test_a_run_is_named_after_what_tells_it_from_others(overrides: list[str], name: str) -> None:
    assert run_name(make_config({}, overrides)) == name


# The division of the batch


def config(batch: int, per_device: int | None = None, method: str = "unimatch_v2") -> Config:
    return Config(method=method, schedule=ScheduleConfig(batch=batch, per_device=per_device))


@given(st.integers(1, 48), st.integers(1, 8), st.none() | st.integers(1, 16))
def test_any_batch_is_divided_evenly_into_as_few_passes_as_fit_or_refused(
    batch: int, processes: int, per_device: int | None
) -> None:
    def division_of(rank: int) -> object:
        return divide(config(batch, per_device), Processes(rank, processes, CPU))

    if batch % processes:
        with pytest.raises(ConfigError, match=rf"(?s)batch of {batch}.*{processes} processes.*schedule\.batch"):
            division_of(0)
        return
    division = divide(config(batch, per_device), Processes(processes - 1, processes, CPU))
    assert (division.processes, division.rank, division.labeled, division.unlabeled) == (
        processes, processes - 1, batch, batch
    )  # fmt: skip
    assert batch % division.chunks == 0
    local = batch // processes
    passes = [count for count in range(1, local + 1) if local % count == 0 and local // count <= (per_device or local)]
    assert division.accumulate == min(passes)


def test_labeled_only_training_doubles_its_batch_and_takes_no_unlabeled_images() -> None:
    division = divide(config(4, method="supervised"), Processes(0, 1, CPU))
    assert (division.labeled, division.unlabeled) == (8, 0)


# Training and evaluation


@pytest.fixture
def run(train_tiny: Callable[..., TrainedRun]) -> TrainedRun:
    return train_tiny("x", "--schedule.steps", "1")


def test_a_run_says_what_it_found_and_decided(train_tiny: Callable[..., TrainedRun]) -> None:
    overrides = ["--schedule.steps", "1", "--optimizer.lr", "1e-4", "--optimizer.lr_batch", "8"]
    path = train_tiny("x", *overrides, "--optimizer.decoder_multiplier", "10", "--schedule.per_device", "1").path
    log = (path / "train.log").read_text()
    assert "4 labeled, 6 unlabeled, 2 val" in log
    assert "crop 32, fp32 on CPU" in log
    assert "batch 2 = 1 processes x 2 passes x 1" in log
    assert "lr 2.5e-05 (encoder) 0.00025 (decoder), scaled by 0.25 for a batch of 2 instead of 8" in log
    facts = json.loads((path / "environment.json").read_text())
    assert (facts["labeled"], facts["unlabeled"], facts["val"]) == (4, 6, 2)


def test_the_held_out_part_is_said_aloud(
    train_tiny: Callable[..., TrainedRun], tiny_scenes: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_scenes, tmp_path / "data"))
    content = yaml.safe_load((data / "dataset.yaml").read_text())
    (data / "dataset.yaml").write_text(yaml.safe_dump({**content, "lists": None}))
    path = train_tiny("x", "--schedule.steps", "1", "--data.root", str(data)).path
    assert "1 of 6 images with a mask are held out for evaluation" in (path / "train.log").read_text()


def test_an_evaluation_finds_what_training_found_wherever_the_model_lies(
    run: TrainedRun, tiny_scenes: Path, tmp_path: Path
) -> None:
    found = evaluate(run.path, device="cpu")
    assert found.miou == run.result.best
    assert (evaluate(str(run.path / "model"), device="cpu").confusion_KK == found.confusion_KK).all()

    moved = Path(shutil.copytree(run.path / "model", tmp_path / "moved"))
    with pytest.raises(DataError, match=r"(?s)no data named.*--data\.root FOLDER"):
        evaluate(moved, device="cpu")
    again = evaluate(moved, DataConfig(root=str(tiny_scenes)), device="cpu", precision="fp32")
    assert again.miou == pytest.approx(found.miou, abs=1e-3)


def test_an_evaluation_on_other_classes_or_on_nothing_is_refused(
    run: TrainedRun, tiny_scenes: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(tiny_scenes, tmp_path / "other"))
    text = (other / "dataset.yaml").read_text()
    (other / "dataset.yaml").write_text(
        text.replace("classes: [", "classes: [more, ").replace("palette:", "palette:\n  - [1, 1, 1]")
    )
    with pytest.raises(DataError, match=r"(?s)classes.*expected"):
        evaluate(run.path, DataConfig(root=str(other)), device="cpu")
    (other / "dataset.yaml").write_text(text.split("lists:")[0])
    shutil.rmtree(other / "masks")
    with pytest.raises(DataError, match=r"(?s)no val images.*--data\.val LIST"):
        evaluate(run.path, DataConfig(root=str(other)), device="cpu")
    with pytest.raises(SemisegError, match="nothing"):
        evaluate(tmp_path / "nothing", device="cpu")


def test_the_data_of_a_model_is_checked_before_it_is_evaluated_on(
    run: TrainedRun, tiny_scenes: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(tiny_scenes, tmp_path / "other"))
    next(other.glob("masks/scene_1*.png")).write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)unreadable image.*scene_1"):
        evaluate(run.path, DataConfig(root=str(other)), device="cpu")


def test_a_configuration_in_python_is_as_good_as_one_of_words(
    tiny_words: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder, *words = tiny_words("x", "--schedule.steps", "1")
    config = replace(recipe_config(folder, words), seed=4, run=RunConfig(name="y", folder=str(tmp_path)))
    run = semiseg.train(config)
    assert run.path == tmp_path / "y"
    assert yaml.safe_load((run.path / "config.yaml").read_text())["seed"] == 4
    assert recipe_config(str(run.path / "config.yaml")) == config
