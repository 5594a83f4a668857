from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.api import TrainedRun
from semiseg.cli import main
from semiseg.data import load_dataset
from semiseg.data.taught import FACTS, label_path, write_label
from semiseg.teaching import student_config, vote, write_labels

Words = Callable[..., list[str]]
Train = Callable[..., TrainedRun]


def test_the_majority_labels_whatever_its_confidence_and_ties_go_to_the_likelier_class() -> None:
    def one(*probabilities: float) -> np.ndarray:
        return np.array(probabilities, dtype=np.float32)[:, None, None]

    sharp, doubting, too = one(0.98, 0.01, 0.01), one(0.3, 0.4, 0.3), one(0.2, 0.5, 0.3)
    label_HW, confidence_HW = vote([sharp, doubting, too])
    assert label_HW.dtype == np.uint8
    assert label_HW[0, 0] == 1, "two votes against one of 0.98"
    assert confidence_HW[0, 0] == pytest.approx((0.01 + 0.4 + 0.5) / 3)
    assert vote([sharp, doubting])[0][0, 0] == 0, "one vote each"
    assert vote([doubting])[1][0, 0] == pytest.approx(0.4)


def test_a_student_of_another_size_learns_from_labels_that_are_made_once(
    tiny_words: Words, train_tiny: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = train_tiny("teacher", "--method", "supervised").path
    words = ["distill", str(teacher), "--encoder", "vit_micro", "--model.weights", "random", "--flip", "--scales", "1"]
    answer = tmp_path / "answer.json"
    assert main([*words, "--run.name", "student", "--json", str(answer)]) == 0

    found = json.loads(answer.read_text())
    assert found["run"] == str(tmp_path / "student")
    assert "The student has" in found["headline"]
    assert any("vit_nano" in line for line in found["details"])
    assert any("vit_micro" in line for line in found["details"])
    assert found["headline"] in (tmp_path / "student" / "report.html").read_text()
    config = (tmp_path / "student" / "config.yaml").read_text()
    assert "method: unimatch_v2" in config, "the teacher's method knows no unlabeled images"
    assert f"teacher: {teacher / 'labels'}" in config

    labels = sorted((teacher / "labels" / "labels").rglob("*.png"))
    unlabeled = (tmp_path / "student" / "data" / "unlabeled.txt").read_text().splitlines()
    assert len(labels) == len(unlabeled) > 0
    made = [path.stat().st_mtime_ns for path in labels]
    labels[0].unlink()
    capsys.readouterr()
    assert main([*words, "--run.name", "second", "--method", "fixmatch"]) == 0
    assert f"1 labels made in 0 s, {len(labels) - 1} were there before" in capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in labels][1:] == made[1:], "a label is made once"


WITNESS = """
import os, sys, time
from pathlib import Path
from semiseg import teaching
from semiseg.cli import main

write, notes = teaching.write_label, Path(sys.argv[1])

def witnessed(path, *maps):
    write(path, *maps)
    with notes.open("a") as file:
        file.write(os.environ["RANK"])
    for _ in range(600):
        if {*notes.read_text()} == {"0", "1"}:
            return
        time.sleep(0.1)
    sys.exit("the other process labels nothing")

teaching.write_label = witnessed
sys.exit(main(sys.argv[2:]))
"""
"""`semiseg` that writes down which process has made a label, and waits until both have made one."""


def test_two_processes_share_the_labels_and_train_together(
    train_tiny: Train, launch_two: Callable[..., str], tmp_path: Path
) -> None:
    teacher = train_tiny("teacher", "--method", "supervised").path
    program, made = tmp_path / "witness.py", tmp_path / "made"
    program.write_text(WITNESS)
    words = ["distill", str(teacher), "--encoder", "vit_nano", "--model.weights", "random", "--scales", "1"]
    launch_two([str(program)], [str(made), *words, "--run.name", "student"])
    ranks, labels = made.read_text(), list((teacher / "labels" / "labels").rglob("*.png"))
    assert {*ranks} == {"0", "1"}
    assert len(labels) <= len(ranks) <= len(labels) + 1, "none is made twice, but perhaps the last one"
    assert (tmp_path / "student" / "report.html").is_file()


def test_what_other_processes_have_not_labelled_is_labelled_too(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the other one makes one label and dies; none is made twice, and the end is told when all are there."""
    teacher = train_tiny("teacher", "--method", "supervised").path
    config = student_config(teacher, "vit_nano")
    samples = load_dataset(config.data).unlabeled
    made: list[str] = []
    told: list[int] = []

    def noted(path: Path, *maps: np.ndarray) -> None:
        made.append(path.stem)
        write_label(path, *maps)

    def progress(done: int, count: int) -> None:
        told.append(done)
        if len(made) == 1:
            noted(label_path(tmp_path / "labels", samples[1]), np.zeros((64, 64), np.uint8), np.ones((64, 64)))

    monkeypatch.setattr(sys.modules["semiseg.teaching"], "write_label", noted)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = write_labels([teacher], samples, tmp_path / "labels", config, scales=(1.0,), flip=False, progress=progress)
    assert made == [Path(samples[place].id).name for place in (0, 1, 2, 4, 5, 3)]
    assert (found.made, found.kept) == (6, 0)
    assert (told[0], told[-1]) == (0, 6)
    assert told == sorted(told)


def test_what_cannot_be_distilled_is_said_before_anything_is_labelled(
    train_tiny: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = train_tiny("teacher", "--method", "supervised").path
    words = ["distill", str(teacher), "--encoder", "vit_nano", "--model.weights", "random"]
    for wrong, said in (
        (["--method", "allspark", "--run.name", "a"], "cannot learn a trained teacher's labels"),
        (["--run.name", "teacher"], "not empty"),
        (["--consistency.own_from", "2", "--run.name", "b"], "own_from"),
    ):
        assert main([*words, *wrong]) == 2
        assert said in capsys.readouterr().err
    assert not (teacher / "labels").exists()
    assert main(["distill", str(tmp_path / "nowhere"), "--encoder", "vit_nano"]) == 2
    assert "no run" in capsys.readouterr().err


def test_labels_of_other_teachers_are_not_taken_for_those_asked_for(
    train_tiny: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (train_tiny(name, "--method", "supervised", "--seed", name).path for name in ("1", "2"))
    common = ["--encoder", "vit_nano", "--model.weights", "random", "--labels", str(tmp_path / "labels")]
    common += ["--scales", "1", "--no-flip"]
    assert main(["distill", str(first), *common, "--run.name", "a"]) == 0
    facts = json.loads((tmp_path / "labels" / FACTS).read_text())
    assert (facts["scales"], facts["flip"]) == ([1.0], False)
    capsys.readouterr()
    assert main(["distill", str(first), str(second), *common, "--run.name", "b"]) == 2
    assert "--labels DIR" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_the_own_average_may_take_over(train_tiny: Train, tmp_path: Path) -> None:
    """Labels of one class alone, sure of it: as long as they teach, all that is confident is of that class."""
    teacher = train_tiny("teacher", "--method", "supervised").path
    words = ["distill", str(teacher), "--encoder", "vit_nano", "--model.weights", "random", "--scales", "1"]
    assert main([*words, "--run.name", "a"]) == 0
    for path in (teacher / "labels" / "labels").rglob("*.png"):
        size = Image.open(path).size
        Image.merge("LA", (Image.new("L", size, 1), Image.new("L", size, 255))).save(path)
    for own_from, confident in (("1", [1.0, 1.0, 1.0]), ("0.5", [1.0, 1.0, 0.0])):
        name = f"from{own_from}"
        overrides = ["--consistency.threshold", "1", "--consistency.own_from", own_from]
        assert main([*words, "--run.name", name, *overrides]) == 0
        lines = (tmp_path / name / "metrics.csv").read_text().splitlines()
        found = [float(line.rsplit(",", 1)[1]) for line in lines if ",train/confident," in line]
        assert found == pytest.approx(confident), name
