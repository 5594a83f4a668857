from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.prepare import Count, prepare, whu
from semiseg.errors import DataError

pytest.importorskip("rasterio")

Pixels = NDArray[np.uint8]
Save = Callable[[Path, Pixels], None]

COLUMNS, ROWS = 3, 2
HEIGHT, WIDTH = ROWS * 256 + 90, COLUMNS * 256 + 100
LEFT = 600  # columns of the left part: the third column of tiles lies in both
DATA = "1. The two-period image data"


def scene(seed: int) -> Pixels:
    place_HW = np.arange(HEIGHT)[:, None] // 4 * 3 + np.arange(WIDTH) * 7
    return np.stack([place_HW + seed, place_HW // 3, place_HW * 5 + seed], axis=2).astype(np.uint8)


BEFORE, AFTER = scene(0), scene(50)
CHANGED = (scene(3)[..., 2] % 3 == 0).astype(np.uint8)


def save_tiff(path: Path, pixels: Pixels | NDArray[np.bool_]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compression="tiff_lzw" if pixels.ndim == 3 else None)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The release with a scene in one piece; the label is of one bit."""
    data = tmp_path / "raw" / DATA
    save_tiff(data / "before/before.tif", BEFORE)
    save_tiff(data / "after/after.tif", AFTER)
    save_tiff(data / "change label/change_label.tif", CHANGED.astype(bool))
    return tmp_path / "raw"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """The release with a scene in two parts that share a column; the label has the values 0 and 1."""
    data = tmp_path / "raw/Building change detection dataset_add" / DATA
    for part, columns in (("train", slice(LEFT)), ("test", slice(LEFT - 1, None))):
        save_tiff(data / f"2012/whole_image/{part}/image/2012_{part}.tif", BEFORE[:, columns])
        save_tiff(data / f"2016/whole_image/{part}/image/2016_{part}.tif", AFTER[:, columns])
        save_tiff(data / f"change_label/{part}/change_label.tif", CHANGED[:, columns])
    return tmp_path / "raw"


@pytest.fixture
def full_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the miniature scene count as the whole one."""
    monkeypatch.setattr(whu, "GRID", (COLUMNS, ROWS))


def read_tiles(out: Path) -> dict[str, Pixels]:
    found = {}
    for path in sorted(out.rglob("*.png")):
        with Image.open(path) as image:
            found[path.relative_to(out).as_posix()] = np.asarray(image)
    return found


def expected_tiles(name: str) -> dict[str, Pixels]:
    return {
        f"{folder}/{name.format(row * COLUMNS + column + 1)}": pixels[
            row * 256 : (row + 1) * 256, column * 256 : (column + 1) * 256
        ]
        for folder, pixels in (("A", BEFORE), ("B", AFTER), ("label", CHANGED * np.uint8(255)))
        for row in range(ROWS)
        for column in range(COLUMNS)
    }


def assert_same(made: dict[str, Pixels], expected: dict[str, Pixels]) -> None:
    assert sorted(made) == sorted(expected)
    assert all(np.array_equal(made[name], expected[name]) for name in expected)


@pytest.mark.filterwarnings("error")  # of rasterio, that a scene has no georeference
@pytest.mark.usefixtures("full_grid")
@pytest.mark.parametrize("release", ["whole", "parts"])
def test_both_releases_give_the_tiles_that_the_lists_name(
    release: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shown: list[tuple[int, int]] = []
    raw, out = request.getfixturevalue(release), tmp_path / "out"
    done = prepare("whu", raw, out, workers=0, show=lambda made, total: shown.append((made, total)))
    assert_same(read_tiles(out), expected_tiles("whucd_{:05}.png"))
    assert (done.made, done.counts) == (18, {"all": Count(6, 7_434)})
    assert shown == [(number, 18) for number in range(0, 19, 3)]


def test_tiles_of_another_grid_get_no_published_name(whole: Path, tmp_path: Path) -> None:
    done = prepare("whu", whole, tmp_path / "out", workers=0)
    assert_same(read_tiles(tmp_path / "out"), expected_tiles("tile_{:05}.png"))
    assert done.differences == ("all: 6 masks, published 7,434",)


def test_the_published_grid_is_that_of_the_published_scene() -> None:
    assert whu.GRID == (32_507 // 256, 15_354 // 256)
    assert np.prod(whu.GRID) == 7_434


@pytest.mark.usefixtures("full_grid")
def test_a_broken_run_makes_only_what_is_missing(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("whu", whole, out, workers=0)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    for name in ("A/whucd_00002.png", "label/whucd_00006.png"):
        (out / name).unlink()
        del stamps[out / name]
    again = prepare("whu", whole, out, workers=1)
    assert (again.made, again.existed) == (2, 16)
    assert_same(read_tiles(out), expected_tiles("whucd_{:05}.png"))
    assert stamps.items() <= {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}.items()


def test_a_damaged_scene_is_named_after_all_else(parts: Path, tmp_path: Path) -> None:
    broken = next(parts.rglob("2016_test.tif"))
    content = broken.read_bytes()
    broken.write_bytes(content[:8] + bytes(len(content) // 2) + content[8 + len(content) // 2 :])  # its first strips
    with pytest.raises(DataError, match=r"1 raw files[\s\S]*2016_train.tif: damaged .*2016_test.tif"):
        prepare("whu", parts, tmp_path / "out", workers=0)
    made = read_tiles(tmp_path / "out")
    assert {name for name in made if not name.startswith("B/")} == {
        name for name in expected_tiles("tile_{:05}.png") if not name.startswith("B/")
    }


@pytest.mark.parametrize("content", [b"", b"no TIFF", None])
def test_an_unreadable_scene_is_refused_at_once(whole: Path, tmp_path: Path, content: bytes | None) -> None:
    broken = whole / DATA / "after/after.tif"
    broken.unlink()
    if content is not None:
        broken.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged or missing scene .*after\.tif"):
        prepare("whu", whole, tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


def test_scenes_of_different_size_are_refused(whole: Path, tmp_path: Path) -> None:
    save_tiff(whole / DATA / "before/before.tif", BEFORE[:, 1:])
    with pytest.raises(DataError, match=rf"differ in size[\s\S]*before\.tif \({WIDTH - 1} x {HEIGHT}\)"):
        prepare("whu", whole, tmp_path / "out", workers=0)


def test_parts_of_different_height_are_refused(parts: Path, tmp_path: Path) -> None:
    save_tiff(next(parts.rglob("2012_test.tif")), BEFORE[1:, LEFT - 1 :])
    with pytest.raises(DataError, match=rf"heights \[{HEIGHT}, {HEIGHT - 1}\]"):
        prepare("whu", parts, tmp_path / "out", workers=0)


def test_a_gray_scene_is_no_image(whole: Path, tmp_path: Path) -> None:
    save_tiff(whole / DATA / "before/before.tif", BEFORE[..., 0])
    with pytest.raises(DataError, match=r"before\.tif: scene with 1 bands of uint8"):
        prepare("whu", whole, tmp_path / "out", workers=0)


def test_without_rasterio_the_extra_is_named(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("semiseg.data.extras.find_spec", lambda name: None if name == "rasterio" else find(name))
    with pytest.raises(DataError, match=r"rasterio is not installed[\s\S]*semiseg\[geo\]"):
        prepare("whu", whole, tmp_path / "out", workers=0)


def test_tiles_of_published_names_are_linked_without_rasterio(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiseg.data.extras.find_spec", lambda name: None)
    for folder in ("A", "B", "label"):
        save(tmp_path / f"raw/{folder}/whucd_00002.png", np.zeros((256, 256), dtype=np.uint8))
    done = prepare("whu", tmp_path / "raw", tmp_path / "out", workers=0)
    assert done.counts == {"all": Count(1, 7_434)}
    assert (tmp_path / "out/label/whucd_00002.png").is_file()
