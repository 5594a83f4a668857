from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.prepare import Count, prepare
from semiseg.errors import DataError

Pixels = NDArray[np.uint8]
Save = Callable[[Path, Pixels], None]

SCENES = ("train/{}/train_1.png", "train/{}/train_10.png", "val/{}/val_1.png", "test/{}/test_1.png")


def scene(seed: int) -> Pixels:
    """An image of 1024 x 1024 whose every tile differs, cheap to compress."""
    place_HW = np.arange(1024)[:, None] // 8 * 3 + np.arange(1024) // 8 * 7
    return np.stack([place_HW + seed, place_HW // 3, place_HW * 5 + seed], axis=2).astype(np.uint8)


def changes(seed: int) -> Pixels:
    return np.where(scene(seed)[..., 2] % 3 == 0, 255, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def levir(tmp_path_factory: pytest.TempPathFactory, save: Save) -> Path:
    """Two pairs for training, one for validation and one for the test, in the layout of the release."""
    raw = tmp_path_factory.mktemp("levir")
    for number, place in enumerate(SCENES):
        save(raw / place.format("A"), scene(10 * number))
        save(raw / place.format("B"), scene(10 * number + 5))
        save(raw / place.format("label"), changes(number))
    return raw


@pytest.fixture
def one_pair(tmp_path: Path, save: Save) -> Path:
    """A release of one pair, to be damaged."""
    for folder, pixels in (("A", scene(0)), ("B", scene(5)), ("label", changes(0))):
        save(tmp_path / f"raw/LEVIR-CD/train/{folder}/train_1.png", pixels)
    return tmp_path / "raw"


def read_png(path: Path) -> Pixels:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_tiles_are_numbered_from_1_row_by_row(levir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = prepare("levir", levir, out, workers=0)
    assert (done.made, done.existed) == (3 * 64, 0)
    assert done.counts == {"train": Count(32, 7_120), "val": Count(16, 1_024), "test": Count(16, 2_048)}
    for number, place in enumerate(SCENES):
        expected = {"A": scene(10 * number), "B": scene(10 * number + 5), "label": changes(number)}
        for folder, pixels in expected.items():
            for tile in range(16):
                top, left = tile // 4 * 256, tile % 4 * 256
                made = read_png(out / folder / f"{Path(place).stem}_{tile + 1}.png")
                assert np.array_equal(made, pixels[top : top + 256, left : left + 256])
    assert sum(1 for path in out.rglob("*") if path.is_file()) == done.made


def test_a_broken_run_makes_only_what_is_missing(one_pair: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("levir", one_pair, out, workers=0)
    lost = [out / "A/train_1_7.png", out / "A/train_1_8.png", out / "label/train_1_16.png"]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*.png")}
    for path in lost:
        path.unlink()
    shown: list[tuple[int, int]] = []
    again = prepare("levir", one_pair, out, workers=0, show=lambda done, total: shown.append((done, total)))
    assert (again.made, again.existed, shown) == (3, 45, [(45, 48), (47, 48), (48, 48)])
    for path, (stamp, content) in before.items():
        assert path.read_bytes() == content
        assert path in lost or path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged image"),
        (lambda path: path.unlink(), "image not found"),
        (lambda path: Image.new("RGB", (512, 1024)).save(path), "scene of 512 x 1024 pixels"),
    ],
)
def test_a_scene_that_cannot_be_used_is_named_after_all_others(
    one_pair: Path, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(one_pair / "LEVIR-CD/train/B/train_1.png")
    with pytest.raises(DataError, match=rf"1 raw files .* all other 32 files[\s\S]*B/train_1.png: {reason}"):
        prepare("levir", one_pair, tmp_path / "out", workers=0)
    assert len(list((tmp_path / "out/A").iterdir())) == len(list((tmp_path / "out/label").iterdir())) == 16
    assert list((tmp_path / "out/B").iterdir()) == []


def test_a_label_of_other_values_is_no_label(one_pair: Path, tmp_path: Path, save: Save) -> None:
    save(one_pair / "LEVIR-CD/train/label/train_1.png", scene(0)[..., 0])
    with pytest.raises(DataError, match=r"label/train_1.png: label values \[2, 3, 4"):
        prepare("levir", one_pair, tmp_path / "out", workers=0)


def test_tiles_of_published_names_are_linked(tmp_path: Path, save: Save) -> None:
    for name in ("train_1_1", "train_1_16", "test_128_9"):
        for folder in ("A", "B", "label"):
            save(tmp_path / f"raw/{folder}/{name}.png", np.zeros((256, 256), dtype=np.uint8))
    save(tmp_path / "raw/A/train_2_1.png", np.zeros((256, 256), dtype=np.uint8))  # without B and label
    done = prepare("levir", tmp_path / "raw", tmp_path / "out", workers=0)
    assert (done.made, done.existed) == (0, 0)
    assert done.counts == {"train": Count(2, 7_120), "val": Count(0, 1_024), "test": Count(1, 2_048)}
    assert (tmp_path / "out/B").is_symlink()
    assert (tmp_path / "out/label/test_128_9.png").is_file()


@pytest.mark.parametrize("name", ["test_102_0512_0000", "train_1_17", "train_1_0", "train_1"])
def test_tiles_of_other_names_are_no_published_ones(tmp_path: Path, save: Save, name: str) -> None:
    for folder in ("A", "B", "label"):
        save(tmp_path / f"raw/{folder}/{name}.png", np.zeros((256, 256), dtype=np.uint8))
    with pytest.raises(DataError, match=r"nothing of the release found[\s\S]*train_1_1.png"):
        prepare("levir", tmp_path / "raw", tmp_path / "out", workers=0)
