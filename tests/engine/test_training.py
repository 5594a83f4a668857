from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from semiseg import api
from semiseg.api import TrainedRun
from semiseg.engine import saving, state, step_numbers
from semiseg.engine.checkpoint import save_checkpoint
from semiseg.engine.evaluation import Evaluator
from semiseg.errors import RunError, SemisegError

TrainTiny = Callable[..., TrainedRun]


def logged(run: Path, name: str) -> dict[int, float]:
    """Return the values of one name in `metrics.csv`, by step."""
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row["value"]) for row in csv.DictReader(file) if row["name"] == name}


def names(run: Path) -> set[str]:
    with (run / "metrics.csv").open(newline="") as file:
        return {row["name"] for row in csv.DictReader(file)}


def last_checkpoint(run: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((run / "checkpoints").iterdir())[-1] / "tensors.safetensors")


def folder_without_val(root: Path, scenes: Path) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for path in [*sorted((scenes / "images").iterdir())[:6], *sorted((scenes / "masks").iterdir())[:2]]:
        (root / path.parent.name / path.name).write_bytes(path.read_bytes())
    settings = yaml.safe_load((scenes / "dataset.yaml").read_text())
    (root / "dataset.yaml").write_text(yaml.safe_dump({key: settings[key] for key in ("name", "classes")}))
    return root


def test_the_learning_rate_in_effect_is_the_published_one(train_tiny: TrainTiny) -> None:
    run = train_tiny("x", "--schedule.steps", "5", "--optimizer.lr", "1.0e-5")
    # 1e-5 (1 - t / 5) ** 0.9 for t = 0, 0, 1, 2, 3: set after step t.
    golden = {1: 1.0e-5, 2: 1.0e-5, 3: 0.818052e-5, 4: 0.631446e-5, 5: 0.438383e-5}
    assert logged(run.path, "train/lr") == pytest.approx(golden, rel=1e-5)


def test_evaluations_come_every_so_many_epochs_and_at_the_end(train_tiny: TrainTiny) -> None:
    run = train_tiny("x", "--schedule.steps", "10", "--evaluation.every", "2")
    assert list(logged(run.path, "teacher/miou")) == [6, 10]
    assert sorted(path.name for path in (run.path / "samples").iterdir()) == ["step_000006.png", "step_000010.png"]
    assert list(logged(run.path, "train/loss")) == list(range(1, 11))


def test_logged_losses_are_means_since_the_last_line(train_tiny: TrainTiny) -> None:
    every = logged(train_tiny("one", "--schedule.steps", "5").path, "train/loss")
    third = logged(train_tiny("three", "--schedule.steps", "5", "--schedule.log_every", "3").path, "train/loss")
    assert third == pytest.approx({3: (every[1] + every[2] + every[3]) / 3, 5: (every[4] + every[5]) / 2})


def test_checkpoints_come_as_often_as_asked(train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []

    def watched(folder: Path, checkpoint: Any) -> None:
        saved.append(checkpoint.step)
        save_checkpoint(folder, checkpoint)

    monkeypatch.setattr(saving, "save_checkpoint", watched)
    train_tiny("x", "--schedule.steps", "8", "--schedule.checkpoint_every", "3")
    assert saved == [3, 6, 8]
    train_tiny("epochs", "--schedule.steps", "7")
    assert saved == [3, 6, 8, 3, 6, 7]


def test_the_first_teacher_is_the_student_and_then_it_lags(train_tiny: TrainTiny) -> None:
    """The decay after step t is min(1 - 1 / (t + 1), limit): 0, then a half."""
    first = last_checkpoint(train_tiny("one", "--schedule.steps", "1").path)
    run = train_tiny("two", "--schedule.steps", "2", "--schedule.checkpoint_every", "1").path
    before, after = (load_file(run / f"checkpoints/step_{step:08d}/tensors.safetensors") for step in (1, 2))
    moved = 0
    for key in (key for key in first if key.startswith("student/")):
        teacher = key.replace("student/", "teacher/", 1)
        assert torch.equal(first[teacher], first[key])
        torch.testing.assert_close(after[teacher], (before[key] + after[key]) / 2)
        moved += not torch.equal(after[teacher], after[key])
    assert moved > 0


@pytest.mark.parametrize(
    "overrides", [("--method", "supervised"), ("--method", "fixmatch", "--consistency.teacher", "student")]
)
def test_without_a_moving_average_the_student_alone_is_judged_and_kept(
    train_tiny: TrainTiny, overrides: tuple[str, ...]
) -> None:
    run = train_tiny("x", "--schedule.steps", "1", *overrides)
    assert not any(name.startswith("teacher/") for name in names(run.path))
    tensors = last_checkpoint(run.path)
    assert not any(key.startswith("teacher/") for key in tensors)
    assert {1: run.result.best} == logged(run.path, "student/miou")
    model = load_file(run.path / "model" / "model.safetensors")
    assert all(torch.equal(model[key.removeprefix("student/")], tensors[key]) for key in tensors if "student/" in key)


class Judged:
    """An evaluation with a result of the test's choosing."""

    classes, iou_K, absence = (), (), ""

    def __init__(self, miou: float) -> None:
        self.judged_by, self.scores = miou, {"miou": miou}


def judge(monkeypatch: pytest.MonkeyPatch, *mious: float) -> None:
    """Let the teacher's evaluations come out as given; one more interrupts the run."""
    coming = iter(mious)

    def evaluate(*_: object, **__: object) -> dict[str, Judged]:
        try:
            return {"student": Judged(0.9), "teacher": Judged(next(coming))}
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)


def test_the_best_labeling_model_is_kept_and_of_equals_the_last(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, 0.25, 0.5, 0.5, 0.125)
    run = train_tiny("x", "--schedule.steps", "12", "--schedule.checkpoint_every", "9", "--evaluation.every", "1")
    assert (run.result.best, run.result.best_step, run.result.steps) == (0.5, 9, 12)
    assert json.loads((run.path / "model/config.json").read_text())["metrics"] == {"miou": 0.5, "step": 9.0}
    teacher = load_file(run.path / "checkpoints/step_00000009/tensors.safetensors")
    model = load_file(run.path / "model/model.safetensors")
    assert all(torch.equal(tensor, teacher[f"teacher/{name}"]) for name, tensor in model.items())


def test_a_resumed_run_knows_the_best_model_so_far(train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("x", "--schedule.steps", "6", "--evaluation.every", "1")
    judge(monkeypatch, 0.5)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(*words)
    judge(monkeypatch, 0.25)
    run = train_tiny(*words, resume=True)
    assert (run.result.best, run.result.best_step, run.result.steps) == (0.5, 3, 6)
    assert json.loads((run.path / "model/config.json").read_text())["metrics"] == {"miou": 0.5, "step": 3.0}


@pytest.mark.parametrize("late", [False, True])
def test_a_loss_that_is_no_number_stops_the_run_with_a_remedy(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr(step_numbers, "_lags", lambda device: late)
    with pytest.raises(RunError, match=r"(?s)not finite in 10 steps in a row.*last step: .*--optimizer\.lr"):
        train_tiny("x", "--optimizer.lr", "1e30", "--schedule.steps", "20")


@pytest.mark.parametrize("error", [RunError("no room", remedy="make some"), ZeroDivisionError("a bug")])
def test_a_report_that_fails_is_said_and_stops_nothing(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(run: Path) -> None:
        raise error

    monkeypatch.setattr(api, "report", fail)
    run = train_tiny("x")
    assert run.result.steps == 3
    assert not (run.path / "report.html").exists()
    text = (run.path / "train.log").read_text()
    assert "no report" in text
    assert str(error).splitlines()[0] in text


def test_without_val_images_the_newest_model_is_kept(train_tiny: TrainTiny, tiny_scenes: Path, tmp_path: Path) -> None:
    root = folder_without_val(tmp_path / "data", tiny_scenes)
    run = train_tiny("x", "--data.root", str(root), "--data.held_out", "0", "--schedule.steps", "5")
    assert run.result.best is None
    assert not any("miou" in name for name in names(run.path))
    assert json.loads((run.path / "model/config.json").read_text())["metrics"] == {"step": 5.0}
    tensors, model = last_checkpoint(run.path), load_file(run.path / "model/model.safetensors")
    assert all(torch.equal(tensor, tensors[f"teacher/{name}"]) for name, tensor in model.items())
    assert (run.path / "report.html").is_file()


def test_a_frozen_encoder_stays_as_it_was(train_tiny: TrainTiny) -> None:
    first = train_tiny("one", "--model.trains", "decoder", "--schedule.steps", "1")
    run = train_tiny("x", "--model.trains", "decoder")
    before, after = last_checkpoint(first.path), last_checkpoint(run.path)
    for key in (key for key in before if key.startswith("student/")):
        unmoved = torch.equal(before[key], after[key])
        assert unmoved or "student/decoder" in key
    assert not torch.equal(before["student/decoder.output.weight"], after["student/decoder.output.weight"])


def test_a_run_whose_teacher_had_an_encoder_of_its_own_goes_on_alike(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--model.trains", "decoder", "--schedule.checkpoint_every", "1", "--schedule.steps")
    straight = train_tiny("straight", *words, "3")
    with monkeypatch.context() as patched:
        patched.setattr(state, "make_teacher", lambda student: deepcopy(student).eval().requires_grad_(False))
        apart = train_tiny("x", *words, "3")
    whole = last_checkpoint(apart.path)
    assert whole.keys() == last_checkpoint(straight.path).keys()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in last_checkpoint(straight.path).items())
    shutil.rmtree(apart.path / "checkpoints/step_00000003")
    resumed = last_checkpoint(train_tiny("x", *words, "3", resume=True).path)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())


def test_blocks_that_run_twice_learn_the_same_and_a_resume_may_change_it(train_tiny: TrainTiny) -> None:
    words = ("--schedule.checkpoint_every", "2", "--schedule.steps", "3")
    plain = last_checkpoint(train_tiny("plain", *words).path)
    run = train_tiny("x", *words, "--schedule.activation_checkpointing", "true").path
    assert last_checkpoint(run).keys() == plain.keys()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in last_checkpoint(run).items())
    shutil.rmtree(run / "checkpoints/step_00000003")
    resumed = last_checkpoint(train_tiny("x", *words, resume=True).path)
    assert all(torch.equal(tensor, plain[name]) for name, tensor in resumed.items())


def test_a_line_of_the_log_one_step_late_says_the_same(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch, numbers: Callable[[Path], dict[tuple[int, str], float]]
) -> None:
    words = ("--schedule.steps", "7", "--schedule.log_every", "2", "--schedule.checkpoint_every", "3")
    at_once = numbers(train_tiny("at_once", *words).path)
    monkeypatch.setattr(step_numbers, "_lags", lambda device: True)
    assert numbers(train_tiny("late", *words).path) == at_once


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--data.crop", "33"), "crop 33 does not divide into patches of 8"),
        (("--schedule.batch", "0"), "batch is 0"),
        (("--method", "unimatch"), "unknown method 'unimatch'; did you mean 'unimatch_v2'"),
        (("--device", "tpu"), "unknown device 'tpu'"),
        (("--model.encoder", "vit_nan"), "did you mean 'vit_nano'"),
        (("--data.split", "9_9"), "no split"),
        (
            ("--schedule.activation_checkpointing", "true", "--model.encoder", "timm/resnet18.a1_in1k"),
            "no blocks that may run twice",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    train_tiny: TrainTiny, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SemisegError, match=message):
        train_tiny("x", *overrides)
    assert not (tmp_path / "x").exists()
