from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from semiseg.api import TrainedRun, evaluate, recipe_config, train
from semiseg.data import load_dataset
from semiseg.data.scenes import CLASSES
from semiseg.engine.evaluation import count_confusion
from semiseg.prediction import predict

TrainTiny = Callable[..., TrainedRun]
Numbers = Callable[[Path], dict[tuple[int, str], float]]

METHODS = ("supervised", "fixmatch", "unimatch_v1", "unimatch_v2")
STUDENT_ALONE = ("supervised", "unimatch_v1")
LEARNS_WITHOUT_LABELS = {"loss", "loss_x", "loss_s", "confident"}
LOSSES = {"supervised": {"loss", "loss_x"}, "unimatch_v1": LEARNS_WITHOUT_LABELS | {"loss_fp"}}

TREE = {
    ".lock",
    "config.yaml",
    "data/labeled.txt",
    "data/unlabeled.txt",
    "data/val.txt",
    "data/files.tsv",
    "data/source.json",
    "environment.json",
    "train.log",
    "metrics.csv",
    "tensorboard/events",
    "samples/step_000003.png",
    "checkpoints/step_00000003/tensors.safetensors",
    "checkpoints/step_00000003/state.json",
    "checkpoints/step_00000003/manifest.json",
    "checkpoints/evaluations.json",
    "checkpoints/quality.json",
    "worst_and_best.png",
    "model/config.json",
    "model/model.safetensors",
    "model/README.md",
    "report.html",
}


LEARNS_UNLABELED = {"pseudo_labels.csv"}


def tree(run: Path) -> list[str]:
    """List all files of a run; TensorBoard's file is named after time and machine."""
    names = [path.relative_to(run).as_posix() for path in run.rglob("*") if not path.is_dir()]
    return sorted("tensorboard/events" if name.startswith("tensorboard/events.out") else name for name in names)


def state(run: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((run / "checkpoints").iterdir())[-1] / "tensors.safetensors")


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("method", METHODS)
def test_a_run_leaves_exactly_its_directory(train_tiny: TrainTiny, numbers: Numbers, method: str) -> None:
    run = train_tiny("x", "--method", method, "--schedule.checkpoint_every", "3")
    assert tree(run.path) == sorted(TREE | (LEARNS_UNLABELED if method != "supervised" else set()))
    assert run.result.steps == 3
    used = json.loads((run.path / "environment.json").read_text())["unlabeled"]
    assert used == (0 if method == "supervised" else 6)
    assert "step 3/3  mIoU student" in (run.path / "train.log").read_text()

    judged = {"student"} if method in STUDENT_ALONE else {"student", "teacher"}
    expected = {f"train/{name}" for name in LOSSES.get(method, LEARNS_WITHOUT_LABELS) | {"lr"}}
    for model in judged:
        expected |= {f"{model}/miou", *(f"{model}/iou/{name}" for name in CLASSES)}
    expected |= {f"quality/{name}" for name in ("ece", "kept", "kept_right")}
    expected |= {"quality/disagreement"} if len(judged) == 2 else set()
    found = numbers(run.path)
    assert {name for step, name in found if step == 3} == expected
    for model in judged:
        ious = [found[3, f"{model}/iou/{name}"] for name in CLASSES]
        assert found[3, f"{model}/miou"] == pytest.approx(sum(ious) / 6)


def test_nothing_a_run_writes_is_pickled(train_tiny: TrainTiny) -> None:
    run = train_tiny("x")
    for path in run.path.rglob("*"):
        if path.is_file():
            start = path.read_bytes()[:4]
            assert not start.startswith(b"\x80"), f"{path.name} begins like a pickle"
            assert not start.startswith(b"PK"), f"{path.name} begins like a zip, as torch.save writes"


def test_the_configuration_in_the_directory_runs_again_to_the_same(
    train_tiny: TrainTiny, numbers: Numbers, tmp_path: Path
) -> None:
    first = train_tiny("x", "--method", "fixmatch", "--fixmatch.dropout", "random", "--data.scale", "[0.3, 1.0]")
    again = train(recipe_config(str(first.path / "config.yaml"), ["--run.name", "y"]))
    assert numbers(again.path) == numbers(first.path)
    assert_equal(state(again.path), state(first.path))
    before, after = (yaml.safe_load((run.path / "config.yaml").read_text()) for run in (first, again))
    assert after.pop("run") == {"name": "y", "folder": str(tmp_path)}
    assert before.pop("run") == {"name": "x", "folder": str(tmp_path)}
    assert after == before
    assert after["recipe"] == "default"


@pytest.mark.parametrize("method", ["supervised", "unimatch_v2"])
@pytest.mark.parametrize(("protocol", "precision"), [("original", "fp32"), ("sliding", "fp32"), ("original", "bf16")])
def test_evaluate_finds_what_training_logged_and_predict_writes_it(
    train_tiny: TrainTiny,
    numbers: Numbers,
    tiny_scenes: Path,
    tmp_path: Path,
    method: str,
    protocol: str,
    precision: str,
) -> None:
    overrides = ("--method", method, "--evaluation.protocol", protocol, "--precision", precision)
    run = train_tiny("x", *overrides, "--data.crop", "40")
    found = evaluate(run.path, device="cpu")
    judged = "student" if method == "supervised" else "teacher"
    logged = numbers(run.path)
    assert found.miou == pytest.approx(logged[3, f"{judged}/miou"], abs=1e-6)
    assert found.iou_K.tolist() == pytest.approx([logged[3, f"{judged}/iou/{name}"] for name in CLASSES], abs=1e-6)
    assert evaluate(run.path / "model", device="cpu").miou == found.miou
    assert run.result.best == pytest.approx(found.miou, abs=1e-6)
    predict(run.path, tiny_scenes / "images", tmp_path / "masks", device="cpu")
    samples = load_dataset(recipe_config(str(tiny_scenes)).data).val
    confusion = np.zeros((6, 6), np.int64)
    for sample in samples:
        assert sample.mask is not None
        truth, written = (
            torch.from_numpy(np.array(Image.open(path)))[None]
            for path in (sample.mask, tmp_path / "masks" / f"{sample.frames[0].stem}.png")
        )
        confusion += count_confusion(truth, written, 6, 255)[0].numpy()
    moved = np.abs(confusion - found.confusion_KK).sum()
    assert moved <= 4, "more than one or two pixels whose two best scores are all but equal"


def test_a_run_refuses_the_directory_of_another(train_tiny: TrainTiny) -> None:
    run = train_tiny("x")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(Exception, match="not empty"):
        train_tiny("x")
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_the_command_line_trains_and_says_where_things_are(
    tiny_words: Callable[..., list[str]], python: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    command, environment = python
    words = [*command, "semiseg", "train", *tiny_words("x", "--method", "supervised"), "--json", f"{tmp_path}/x.json"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [f"model:  {tmp_path}/x/model", f"report: {tmp_path}/x/report.html"]
    assert "step 3/3" in done.stderr
    result = json.loads((tmp_path / "x.json").read_text())
    assert result["run"] == f"{tmp_path}/x"
    assert result["steps"] == 3
    assert 0 < result["best_miou"] < 1
    facts = json.loads((tmp_path / "x/environment.json").read_text())
    assert facts["command"].startswith("semiseg train ")

    again = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 2
    assert again.stderr.startswith("error: the run directory is not empty")
    assert "Traceback" not in again.stderr
