"""R15: bytes that change on the disk and decode without an error are found by checksums."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from semiseg.cli import main

Captured = pytest.CaptureFixture[str]
Words = Callable[..., list[str]]


@pytest.fixture
def data(tiny_scenes: Path, tmp_path: Path) -> Path:
    """Return the tiny scenes, their unlabeled images as JPEG."""
    root = Path(shutil.copytree(tiny_scenes, tmp_path / "data"))
    for name in (root / "unlabeled.txt").read_text().split():
        Image.open(root / name).save((root / name).with_suffix(".jpg"), quality=95)
        (root / name).unlink()
    (root / "unlabeled.txt").write_text((root / "unlabeled.txt").read_text().replace(".png", ".jpg"))
    return root


def rot(path: Path) -> None:
    """Zero a few bytes so that the image still decodes, to other pixels."""
    whole, pixels = path.read_bytes(), Image.open(path).tobytes()
    for place in range(len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:place] + bytes(3) + whole[place + 3 :])
        try:
            if Image.open(path).tobytes() != pixels:
                return
        except (OSError, SyntaxError):
            continue
    pytest.fail("no place where rot is silent")


def test_r15_checksums_are_those_of_sha256sum(data: Path, capsys: Captured) -> None:
    assert main(["data", "check", str(data), "--manifest"]) == 0
    lines = (data / "manifest.sha256").read_text().splitlines()
    assert len(lines) == 12 + 6
    if shutil.which("sha256sum"):
        done = subprocess.run(["sha256sum", "--check", "--quiet", "manifest.sha256"], cwd=data, check=False)
        assert done.returncode == 0


def test_r15_without_checksums_rot_is_silent_and_with_them_the_check_finds_it(
    data: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert main(["data", "check", str(data), "--manifest"]) == 0
    before = (data / "manifest.sha256").read_text()
    name = sorted(data.glob("images/*.jpg"))[2]
    rot(name)
    assert main(["data", "check", str(data), "--json", str(tmp_path / "found.json")]) == 1
    faults = json.loads((tmp_path / "found.json").read_text())["faults"]
    assert [str(name) in fault and "not what it was" in fault for fault in faults] == [True]
    assert main(["data", "check", str(data), "--manifest"]) == 1
    assert (data / "manifest.sha256").read_text() == before, "the sum of a changed file is kept"
    (data / "manifest.sha256").unlink()
    assert main(["data", "check", str(data)]) == 0


@pytest.mark.parametrize("name", ["images/scene_000000.png", "masks/scene_000001.png", "images/scene_100000.png"])
def test_r15_rot_of_labeled_and_val_files_is_found_before_the_first_step(
    data: Path, name: str, tiny_words: Words, tmp_path: Path, capsys: Captured
) -> None:
    assert main(["data", "check", str(data), "--manifest"]) == 0
    image = Image.open(data / name)
    image.putpixel((3, 3), 0 if image.mode == "L" else (1, 2, 3))
    image.save(data / name)
    assert main(["train", str(data), *tiny_words("x")[1:]]) == 2
    message = capsys.readouterr().err
    assert "not what it was when its checksum was written" in message
    assert name in message
    assert not (tmp_path / "x").exists()


def test_r15_checksums_may_lie_elsewhere_and_grow(data: Path, tmp_path: Path, capsys: Captured) -> None:
    sums = tmp_path / "sums.txt"
    assert main(["data", "check", str(data), "--manifest", str(sums)]) == 0
    assert not (data / "manifest.sha256").exists()
    shutil.copy(data / "images/scene_000005.jpg", data / "images/new.jpg")
    (data / "unlabeled.txt").write_text((data / "unlabeled.txt").read_text() + "images/new.jpg\n")
    assert main(["data", "check", str(data), "--data.manifest", str(sums)]) == 0
    assert f"1 files are not in {sums}" in capsys.readouterr().out
    assert main(["data", "check", str(data), "--manifest", str(sums)]) == 0
    assert len(sums.read_text().splitlines()) == 19


@pytest.mark.parametrize("content", ["rubbish\n", "0" * 64 + " a\n", "\xff"])
def test_r15_damaged_checksums_are_named(data: Path, content: str, tiny_words: Words, capsys: Captured) -> None:
    (data / "manifest.sha256").write_text(content, encoding="latin-1")
    assert main(["train", str(data), *tiny_words("x")[1:]]) == 2
    assert "manifest.sha256" in capsys.readouterr().err
