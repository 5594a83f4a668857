"""Whatever is wrong with the input: exit code 2, one readable message, and not a byte created or changed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from semiseg.cli import main

Captured = pytest.CaptureFixture[str]


def tree(folder: Path) -> dict[str, str | None]:
    """Return every path below a folder with the hash of its content, but for the note of who last held a run."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


@pytest.fixture
def refused(capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return `refused(*words)`: run a command in `tmp_path`, check all that a refusal owes, return its message."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        before = tree(tmp_path)
        capsys.readouterr()
        assert main(words) == 2
        output = capsys.readouterr()
        assert output.err.startswith("error: ")
        assert output.err.count("error: ") == 1
        assert "remedy:" in output.err
        assert "Traceback" not in output.out + output.err
        assert "done" not in output.out
        assert tree(tmp_path) == before
        return output.err

    return run


@pytest.fixture
def data(tiny_scenes: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny scenes to spoil."""
    return Path(shutil.copytree(tiny_scenes, tmp_path / "data"))


@pytest.fixture
def words(data: Path, tiny_words: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Return `words(*overrides)`: a tiny training on the data to spoil."""
    return lambda *overrides: ["train", str(data), *tiny_words("x", *overrides)[1:]]


def rgb_without_palette(root: Path) -> None:
    spec = yaml.safe_load((root / "dataset.yaml").read_text())
    del spec["palette"]
    (root / "dataset.yaml").write_text(yaml.safe_dump(spec))
    Image.new("RGB", (64, 64)).save(root / MASK)


IMAGE, MASK = "images/scene_000000.png", "masks/scene_000000.png"
SPOILT: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing mask": (lambda root: (root / MASK).unlink(), ("not found", MASK)),
    "missing image": (lambda root: (root / IMAGE).unlink(), ("not found", IMAGE)),
    "value out of range": (
        lambda root: Image.new("L", (64, 64), 77).save(root / MASK),
        ("mask values [77] are no class", MASK, "255 to ignore"),
    ),
    "RGB mask": (rgb_without_palette, ("mask with RGB pixels", MASK)),
    "RGB mask of other colours": (
        lambda root: Image.new("RGB", (64, 64)).save(root / MASK),
        ("colours of no class", MASK),
    ),
    "16-bit mask": (
        lambda root: Image.fromarray(np.full((64, 64), 900, np.uint16)).save(root / MASK),
        ("from 900 to 900", MASK),
    ),
    "sizes": (
        lambda root: Image.new("L", (32, 64)).save(root / MASK),
        ("image of 64 x 64 and mask of 32 x 64", IMAGE, MASK),
    ),
    "unreadable image": (lambda root: (root / IMAGE).write_text("<html>"), ("unreadable image", IMAGE)),
    "damaged image": (
        lambda root: (root / IMAGE).write_bytes((root / IMAGE).read_bytes()[:900]),
        ("damaged image", IMAGE),
    ),
    "16-bit image": (
        lambda root: Image.fromarray(np.zeros((64, 64), np.uint16)).save(root / IMAGE),
        ("8 bits a channel", IMAGE),
    ),
    "unreadable unlabeled image": (
        lambda root: (root / "images/scene_000005.png").write_bytes(b""),
        ("unreadable image", "images/scene_000005.png"),
    ),
    "empty list": (lambda root: (root / "labeled.txt").write_text("\n"), ("empty list", "labeled.txt")),
    "missing list": (lambda root: (root / "val.txt").unlink(), ("unreadable list", "val.txt")),
    "list that leaves": (
        lambda root: (root / "unlabeled.txt").write_text("../secret.png\n"),
        ("leaves the data folder", "unlabeled.txt, line 1"),
    ),
    "leakage": (
        lambda root: shutil.copy(root / "val.txt", root / "unlabeled.txt"),
        ("both unlabeled and evaluated on", "scene_100000"),
    ),
    "no dataset.yaml": (lambda root: (root / "dataset.yaml").unlink(), ("no dataset.yaml", "classes:")),
    "wrong key in dataset.yaml": (
        lambda root: (root / "dataset.yaml").write_text("clases: [a, b]\n"),
        ("unknown key 'clases'; did you mean 'classes'", "dataset.yaml"),
    ),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_spoilt_data(fault: str, data: Path, words: Callable[..., list[str]], refused: Callable[..., str]) -> None:
    spoil, says = SPOILT[fault]
    spoil(data)
    message = refused(*words())
    assert [part for part in says if part not in message] == []


def test_several_faults_are_all_named(data: Path, words: Callable[..., list[str]], refused: Callable[..., str]) -> None:
    Image.new("RGB", (64, 64)).save(data / MASK)
    (data / "images/scene_000001.png").write_bytes(b"")
    message = refused(*words())
    assert "2 files cannot be used" in message
    assert MASK in message
    assert "images/scene_000001.png" in message


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["--data.crop", "30"], ["crop 30", "data.crop", "patch", "--data.crop 3"]),
        (["--data.crop", "0"], ["crop 0", "data.crop"]),
        (["--data.crop", "-32"], ["data.crop"]),
        (["--schedule.bacth", "2"], ["--schedule.bacth; did you mean '--schedule.batch'"]),
        (["--schedule.batch", "0"], ["schedule.batch"]),
        (["--schedule.batch", "two"], ["schedule.batch", "a whole number"]),
        (["--schedule.steps", "-1"], ["steps"]),
        (["--seed", "-1"], ["seed", "a number >= 0"]),
        (["--method", "unimatch"], ["unknown method 'unimatch'; did you mean 'unimatch_v2'"]),
        (["--model.encoder", "vit_nanno"], ["unknown encoder 'vit_nanno'; did you mean 'vit_nano'"]),
        (["--model.weights", "hub"], ["--model.weights random"]),
        (["--model.weights", "missing.pth"], ["no such file of weights", "missing.pth"]),
        (["--device", "gpu"], ["device", "gpu"]),
        (["--data.scale", "[2, 1]"], ["data.scale"]),
        (["--data.split", "99"], ["99 labeled images wanted", "--data.split"]),
        (["--data.split", "1_8"], ["no split '1_8'"]),
        (["--data.val", "missing.txt"], ["unreadable list", "missing.txt"]),
        (["--data.unlabeled", "nowhere"], ["no images found", "nowhere"]),
        (["--data.max_pixels", "100"], ["larger than the cap", "data.max_pixels"]),
        (["--strong.cutmix_p", "2"], ["cutmix_p"]),
        (["--evaluation.protocol", "whole"], ["evaluation.protocol", "original or sliding"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
def test_wrong_settings(
    overrides: list[str], says: list[str], words: Callable[..., list[str]], refused: Callable[..., str]
) -> None:
    message = refused(*words(*overrides))
    assert [part for part in says if part not in message] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modle: {}", "unknown key 'modle'; did you mean 'model'"),
        ("schedule: {bacth: 2}", "unknown key 'schedule.bacth'; did you mean 'batch'"),
        ("schedule: 2", "schedule is not a mapping"),
        ("schedule: {batch: }", "schedule.batch has no value"),
        ("x: !!python/object/apply:os.mkdir ['made']", "unreadable YAML"),
        ("data: &a [1]\nx: *a", "aliases"),
        ("- a", "not a YAML mapping"),
    ],
)
def test_a_wrong_recipe(text: str, says: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "own.yaml").write_text(text)
    message = refused("train", "own.yaml")
    assert says in message
    assert "own.yaml" in message


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", ["other shape", "other names", "no weights"])
def test_weights_that_do_not_fit(
    name: str, content: str, words: Callable[..., list[str]], refused: Callable[..., str], tmp_path: Path
) -> None:
    tensors = {"other shape": {"cls_token": torch.zeros(1, 1, 7)}, "other names": {"x": torch.zeros(2)}}
    if content == "no weights":
        (tmp_path / name).write_bytes(b"\x80\x04not weights")
    elif name.endswith("pth"):
        torch.save(tensors[content], tmp_path / name)
    else:
        save_file(tensors[content], tmp_path / name)
    message = refused(*words("--model.weights", str(tmp_path / name)))
    assert name in message
    assert ("cannot be read" if content == "no weights" else "do not fit") in message


def test_a_run_directory_that_is_not_empty(
    words: Callable[..., list[str]], refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("mine")
    message = refused(*words())
    assert str(tmp_path / "x") in message
    assert "--resume" in message
    assert "--run.name" in message


def test_a_run_folder_that_cannot_be_made(
    words: Callable[..., list[str]], refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refused(*words("--run.folder", str(tmp_path / "file")))


def test_resuming_what_is_no_run(words: Callable[..., list[str]], refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(*words("--resume"))
    assert "no run to resume" in message
    assert str(tmp_path / "x") in message


def test_a_run_and_everything_that_is_refused_about_it(
    words: Callable[..., list[str]], refused: Callable[..., str], tmp_path: Path
) -> None:
    assert main(words("--schedule.steps", "1")) == 0
    run = str(tmp_path / "x")

    assert "not empty" in refused(*words("--schedule.steps", "1"))
    message = refused(*words("--schedule.steps", "1", "--optimizer.weight_decay", "0.5", "--seed", "8", "--resume"))
    assert "optimizer.weight_decay: 0.01 in the run, 0.5 now" in message
    assert "seed: 0 in the run, 8 now" in message
    assert "--run.name" in message

    images = str(tmp_path / "data" / "images")
    assert "missing" in refused("predict", run, str(tmp_path / "missing"), "--out", "masks")
    assert "nothing" in refused("predict", str(tmp_path / "nothing"), images, "--out", "masks")
    assert "missing.txt" in refused("evaluate", run, "--data.root", str(tmp_path / "data"), "--data.val", "missing.txt")
    (tmp_path / "data" / "dataset.yaml").write_text("classes: [a, b]\n")
    assert "classes" in refused("evaluate", run)
    (tmp_path / "x" / "model" / "model.safetensors").write_bytes(b"x" * 100)
    assert "model" in refused("evaluate", run)
    assert "model" in refused("predict", run, images, "--out", "masks")
