"""R16: labels that cannot be right end in an error that names file and values, before the first step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from semiseg.cli import main

IMAGE, MASK = "images/scene_000000.png", "masks/scene_000000.png"


def gray(value: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("L", size, value)


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


def rgb_without_palette(root: Path) -> None:
    spec = yaml.safe_load((root / "dataset.yaml").read_text())
    del spec["palette"]
    (root / "dataset.yaml").write_text(yaml.safe_dump(spec))
    Image.new("RGB", (64, 64)).save(root / MASK)


FAULTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "label out of range": (lambda root: gray(77).save(root / MASK), ("mask values [77] are no class", MASK, "0 to 5")),
    "RGB mask": (rgb_without_palette, ("mask with RGB pixels", MASK)),
    "RGB mask of other colours": (
        lambda root: Image.new("RGB", (64, 64)).save(root / MASK),
        ("colours of no class", MASK),
    ),
    "mask with alpha": (lambda root: Image.new("LA", (64, 64)).save(root / MASK), ("mask with LA pixels", MASK)),
    "16-bit values": (
        lambda root: Image.fromarray(np.full((64, 64), 300, np.uint16)).save(root / MASK),
        ("from 300 to 300", MASK),
    ),
    "JPEG mask": (lambda root: gray(1).save(root / MASK, "JPEG"), ("JPEG compression", MASK)),
    "size mismatch": (
        lambda root: gray(1, (32, 64)).save(root / MASK),
        ("image of 64 x 64 and mask of 32 x 64", IMAGE, MASK),
    ),
    "missing mask": (lambda root: (root / MASK).unlink(), ("not found", MASK)),
    "missing image": (lambda root: (root / IMAGE).unlink(), ("not found", IMAGE)),
    "no mask listed": (
        lambda root: append(root / "labeled.txt", "images/scene_000004.png"),
        ("no mask listed", "scene_000004"),
    ),
    "duplicate": (
        lambda root: append(root / "labeled.txt", f"{IMAGE} masks/scene_000001.png"),
        ("1 labeled images are named more than once", IMAGE),
    ),
    "duplicate in val": (
        lambda root: append(root / "val.txt", "images/scene_100000.png masks/scene_100000.png"),
        ("1 val images are named more than once", "images/scene_100000.png"),
    ),
    "val image labeled": (
        lambda root: append(root / "labeled.txt", "images/scene_100000.png masks/scene_100000.png"),
        ("1 images are both labeled and evaluated on", "images/scene_100000.png"),
    ),
    "val image unlabeled": (
        lambda root: append(root / "unlabeled.txt", "images/scene_100001.png"),
        ("1 images are both unlabeled and evaluated on", "images/scene_100001.png"),
    ),
    "empty split": (lambda root: (root / "labeled.txt").write_text("\n"), ("empty list", "labeled.txt")),
    "empty val": (lambda root: (root / "val.txt").write_text(""), ("empty list", "val.txt")),
    "second class ignored": (
        lambda root: [Image.fromarray(np.array([[0, 255]] * 2, np.uint8).repeat(32, 0).repeat(32, 1)).save(path)
                      for path in root.glob("masks/*.png")],
        ("no mask shows a class but", "mask_values: {0: 0, 255: 1}"),
    ),
}  # fmt: skip


@pytest.fixture
def data(tiny_scenes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_scenes, tmp_path / "data"))


@pytest.mark.parametrize("fault", FAULTS)
def test_r16_training_names_it_and_writes_nothing(
    fault: str, data: Path, tiny_words: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, says = FAULTS[fault]
    spoil(data)
    assert main(["train", str(data), *tiny_words("x")[1:]]) == 2
    message = capsys.readouterr().err
    assert [part for part in (*says, "remedy:") if part not in message] == []
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_r16_the_check_names_it(fault: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, says = FAULTS[fault]
    spoil(data)
    assert main(["data", "check", str(data)]) in (1, 2)
    output = capsys.readouterr()
    assert [part for part in (*says, "remedy:") if part not in output.out + output.err] == []
    assert "Traceback" not in output.err


def test_r16_copies_of_val_images_among_the_training_images_are_named(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(data / "images/scene_100000.png", data / "images/copy.png")
    Image.open(data / "images/scene_100001.png").save(data / "images/again.jpg", quality=90)
    append(data / "unlabeled.txt", "images/copy.png\nimages/again.jpg")
    assert main(["data", "check", str(data)]) == 1
    output = capsys.readouterr().out
    assert "one picture is trained and evaluated on, under two names" in output
    assert "images/copy.png and images/scene_100000.png" in output
    assert "look alike and make the figures too good" in output
    assert "images/again.jpg and images/scene_100001.png" in output
    assert "1 faults" in output


def test_r16_a_labeled_image_that_looks_like_a_val_image_is_said_by_training(
    data: Path, tiny_words: Callable[..., list[str]], tmp_path: Path
) -> None:
    Image.open(data / "images/scene_100000.png").save(data / IMAGE)
    Image.open(data / "masks/scene_100000.png").save(data / MASK)
    assert main(["train", str(data), *tiny_words("x")[1:]]) == 0
    log = (tmp_path / "x/train.log").read_text()
    assert f"1 pairs of training and val images look alike and make the figures too good: {IMAGE} and" in log
