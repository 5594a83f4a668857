"""R21: a training of any size works, or says what to change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.api import TrainedRun, evaluate
from semiseg.cli import main
from semiseg.methods import METHODS

TrainTiny = Callable[..., TrainedRun]
Words = Callable[..., list[str]]


@pytest.fixture
def data(tiny_scenes: Path, tmp_path: Path) -> Path:
    """Return the tiny scenes: 4 labeled, 6 unlabeled, 2 val, of 64 x 64."""
    return Path(shutil.copytree(tiny_scenes, tmp_path / "data"))


def keep(data: Path, part: str, count: int) -> None:
    lines = (data / f"{part}.txt").read_text().splitlines()[:count]
    (data / f"{part}.txt").write_text("".join(f"{line}\n" for line in lines))


def sound(run: TrainedRun, steps: int) -> None:
    """Check that a run has learned something finite and can be evaluated."""
    assert run.result.steps == steps
    losses = [line for line in (run.path / "metrics.csv").read_text().splitlines() if "train/loss," in line]
    assert len(losses) == steps
    assert all(np.isfinite(float(line.rsplit(",", 1)[1])) for line in losses)
    assert run.result.best is not None
    assert evaluate(run.path, device="cpu").miou == pytest.approx(run.result.best, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_r21_fewer_than_eight_iterations(train_tiny: TrainTiny, steps: int) -> None:
    sound(train_tiny("x", "--schedule.steps", str(steps)), steps)


@pytest.mark.parametrize("method", ["supervised", "fixmatch", "unimatch_v2"])
def test_r21_a_batch_of_one(train_tiny: TrainTiny, method: str) -> None:
    sound(train_tiny("x", "--method", method, "--schedule.batch", "1"), 3)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_r21_one_labeled_one_unlabeled_and_one_val_image(
    tiny_words: Words, data: Path, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("labeled", "unlabeled", "val"):
        keep(data, part, 1)
    words = tiny_words("x", "--data.root", str(data), "--method", method)
    code = main(["train", *words])
    if code != 0:  # a method that cannot work here says what it needs
        assert code == 2
        assert "remedy:" in capsys.readouterr().err
        return
    assert len((tmp_path / "x/data/unlabeled.txt").read_text().splitlines()) == (0 if method == "supervised" else 1)


def test_r21_fewer_unlabeled_than_labeled_images(train_tiny: TrainTiny, data: Path) -> None:
    keep(data, "unlabeled", 2)
    sound(train_tiny("x", "--data.root", str(data), "--schedule.batch", "4"), 3)


def test_r21_a_batch_larger_than_all_images(train_tiny: TrainTiny, data: Path) -> None:
    sound(train_tiny("x", "--data.root", str(data), "--schedule.batch", "16"), 3)


@pytest.mark.parametrize("size", [(1, 1), (5, 64), (64, 3), (20, 20)])
def test_r21_images_below_the_crop(train_tiny: TrainTiny, data: Path, size: tuple[int, int]) -> None:
    for folder in ("images", "masks"):
        for path in (data / folder).glob("*.png"):
            Image.open(path).resize(size, Image.Resampling.NEAREST).save(path)
    sound(train_tiny("x", "--data.root", str(data)), 3)


def test_r21_no_unlabeled_images(tiny_words: Words, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(text.replace("unlabeled: unlabeled.txt, ", ""))
    for name in (data / "unlabeled.txt").read_text().split():
        (data / name).unlink()
    assert main(["train", *tiny_words("x", "--data.root", str(data))]) == 2
    message = capsys.readouterr().err
    assert "no unlabeled images" in message
    assert "--method supervised" in message


def test_r21_no_val_images(train_tiny: TrainTiny, data: Path) -> None:
    text = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(text.split("lists:")[0])
    run = train_tiny("x", "--data.root", str(data), "--data.held_out", "0")
    assert run.result.best is None
    assert (run.path / "model/model.safetensors").is_file()


def test_r21_one_image_with_a_mask_and_no_val_list(
    tiny_words: Words, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(text.split("lists:")[0])
    for mask in sorted(data.glob("masks/*.png"))[1:]:
        mask.unlink()
    assert main(["train", *tiny_words("x", "--data.root", str(data))]) == 0
    assert "not evaluated" in capsys.readouterr().out
