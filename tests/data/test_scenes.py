from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.data import DataConfig, check_dataset, load_dataset
from semiseg.data.scenes import CLASSES, PALETTE, draw_pair, draw_scene, write_scenes
from semiseg.data.spec import read_class_ids
from semiseg.errors import DataError

SHARES = (0.216, 0.1945, 0.122, 0.2835, 0.1201, 0.0639)
COLOUR = (108.7, 121.6, 102.1)
"""Share of each class and mean RGB of scenes 0 to 31 of seed 0."""


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(0, index) for index in range(32)]


def test_scene_is_a_picture_with_a_mask_of_its_size(scenes):
    for scene in scenes:
        assert scene.image_HW3.shape == (128, 128, 3)
        assert scene.image_HW3.dtype == np.uint8
        assert scene.mask_HW.shape == (128, 128)
        assert scene.mask_HW.dtype == np.uint8
        assert scene.mask_HW.max() < len(CLASSES) == len(PALETTE)


def test_scene_is_a_function_of_seed_and_index(scenes):
    again = draw_scene(0, 5)
    np.testing.assert_array_equal(again.image_HW3, scenes[5].image_HW3)
    np.testing.assert_array_equal(again.mask_HW, scenes[5].mask_HW)
    assert (draw_scene(1, 5).mask_HW != again.mask_HW).any()


@pytest.mark.parametrize("size", [64, 200])
def test_scene_has_any_size(size):
    scene = draw_scene(3, 1, size)
    assert scene.image_HW3.shape == (size, size, 3)
    assert scene.mask_HW.shape == (size, size)


def test_every_class_is_in_most_scenes_and_none_is_rare(scenes):
    shares = np.array([np.bincount(scene.mask_HW.ravel(), minlength=len(CLASSES)) for scene in scenes]) / 128**2
    assert ((shares > 0.002).mean(axis=0) >= 0.75).all()
    assert (shares.mean(axis=0) >= 0.04).all()
    assert (shares[:8].max(axis=0) > 0.02).all(), "eight labeled scenes must show every class"


def test_scenes_are_those_that_were_published(scenes):
    """Loose enough for another NumPy or Pillow, tight enough to notice that seed 0 draws other scenes."""
    shares = np.mean([np.bincount(s.mask_HW.ravel(), minlength=len(CLASSES)) for s in scenes], axis=0) / 128**2
    colour = np.mean([scene.image_HW3.mean(axis=(0, 1)) for scene in scenes], axis=0)
    np.testing.assert_allclose(shares, SHARES, atol=0.002)
    np.testing.assert_allclose(colour, COLOUR, atol=1.0)


def test_light_varies_more_between_scenes_than_the_classes_do(scenes):
    """The colour of a class must not be given away: its spread over scenes is as wide as the classes lie apart."""
    means = np.array([[s.image_HW3[s.mask_HW == k].mean() for k in (0, 1, 3, 4, 5)] for s in scenes])
    assert means.std(axis=0).mean() > 0.8 * means.mean(axis=0).std()


def test_pair_changes_houses_and_nothing_else():
    pairs = [draw_pair(0, index) for index in range(24)]
    changed = np.array([pair.change_HW.mean() for pair in pairs])
    assert {int(value) for pair in pairs for value in np.unique(pair.change_HW)} == {0, 1}
    assert 0.005 < changed.mean() < 0.1
    assert (changed == 0).any()
    for pair in pairs:
        assert pair.before_HW3.shape == pair.after_HW3.shape == (128, 128, 3)
        assert (pair.before_HW3 != pair.after_HW3).mean() > 0.5


def test_pair_is_a_function_of_seed_and_index():
    one, two = draw_pair(2, 3), draw_pair(2, 3)
    np.testing.assert_array_equal(one.after_HW3, two.after_HW3)
    np.testing.assert_array_equal(one.change_HW, two.change_HW)


def test_folder_is_complete(tmp_path: Path):
    root = tmp_path / "scenes"
    write_scenes(root, labeled=2, unlabeled=3, val=1, size=64, seed=4)
    entries = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    numbers = {"labeled": [0, 1], "unlabeled": [2, 3, 4], "val": [100_000]}
    images = {f"images/scene_{n:06d}.png" for split in numbers.values() for n in split}
    masks = {f"masks/scene_{n:06d}.png" for split in ("labeled", "val") for n in numbers[split]}
    assert entries == images | masks | {"dataset.yaml", "scenes.json", "labeled.txt", "unlabeled.txt", "val.txt"}
    assert list(tmp_path.iterdir()) == [root], "nothing is left beside the folder"
    assert (root / "labeled.txt").read_text().splitlines()[1] == "images/scene_000001.png masks/scene_000001.png"
    assert (root / "unlabeled.txt").read_text().splitlines()[0] == "images/scene_000002.png"
    mask = Image.open(root / "masks/scene_000001.png")
    assert mask.mode == "L"
    np.testing.assert_array_equal(np.asarray(mask), draw_scene(4, 1, 64).mask_HW)
    np.testing.assert_array_equal(
        np.asarray(Image.open(root / "images/scene_000003.png")), draw_scene(4, 3, 64).image_HW3
    )


def test_folder_of_pairs_is_complete(tmp_path: Path):
    write_scenes(tmp_path / "p", labeled=2, unlabeled=1, val=1, size=64, seed=4, frames=2)
    root = tmp_path / "p"
    entries = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    names = [f"scene_{n:06d}.png" for n in (0, 1, 2, 100_000)]
    masks = {f"label/{name}" for name in names if name != names[2]}
    images = {f"{folder}/{name}" for folder in ("A", "B") for name in names}
    assert entries == images | masks | {"dataset.yaml", "scenes.json", "labeled.txt", "unlabeled.txt", "val.txt"}
    assert (root / "labeled.txt").read_text().splitlines() == names[:2]
    assert (root / "unlabeled.txt").read_text().splitlines() == names[2:3]
    pair = draw_pair(4, 1, 64)
    drawn = {"A": pair.before_HW3, "B": pair.after_HW3, "label": pair.change_HW * 255}
    for folder, pixels in drawn.items():
        np.testing.assert_array_equal(np.asarray(Image.open(root / folder / names[1])), pixels)


def test_folder_of_pairs_is_a_data_set_of_changes(tmp_path: Path):
    write_scenes(tmp_path, labeled=2, unlabeled=3, val=1, frames=2)
    dataset = load_dataset(DataConfig(root=str(tmp_path)))
    check_dataset(dataset, 128 * 128, unlabeled=True)
    assert [len(part) for part in (dataset.labeled, dataset.unlabeled, dataset.val)] == [2, 3, 1]
    assert dataset.spec.score == "changed_iou"
    assert dataset.labeled[1].mask is not None
    ids_HW = read_class_ids(dataset.labeled[1].mask, dataset.spec)
    np.testing.assert_array_equal(ids_HW, draw_pair(0, 1).change_HW)
    assert ids_HW.any()


def test_pairs_and_scenes_are_other_settings(tmp_path: Path):
    settings = {"labeled": 1, "unlabeled": 0, "val": 0, "size": 64}
    write_scenes(tmp_path, **settings, frames=2)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    write_scenes(tmp_path, **settings, frames=2)
    with pytest.raises(DataError, match="scenes of other settings"):
        write_scenes(tmp_path, **settings)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_single_scenes_are_noted_as_they_were_before_there_were_pairs(tmp_path: Path):
    write_scenes(tmp_path, labeled=1, unlabeled=0, val=0, size=64)
    noted = json.loads((tmp_path / "scenes.json").read_text())
    assert noted == {"generator": 1, "labeled": 1, "unlabeled": 0, "val": 0, "size": 64, "seed": 0}


def test_description_names_classes_colours_and_lists(tmp_path: Path):
    yaml = pytest.importorskip("yaml")
    write_scenes(tmp_path, labeled=1, unlabeled=0, val=0, size=64)
    assert yaml.safe_load((tmp_path / "dataset.yaml").read_text()) == {
        "name": "scenes",
        "classes": list(CLASSES),
        "palette": [list(colour) for colour in PALETTE],
        "ignore_value": 255,
        "lists": {"labeled": "labeled.txt", "unlabeled": "unlabeled.txt", "val": "val.txt"},
    }


def test_more_labels_are_the_same_pictures(tmp_path: Path):
    write_scenes(tmp_path / "few", labeled=1, unlabeled=1, val=1, size=64)
    write_scenes(tmp_path / "all", labeled=2, unlabeled=0, val=1, size=64)
    few, all_ = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name / "images").iterdir())}
        for name in ("few", "all")
    )
    assert few == all_


def test_same_scenes_are_left_as_they_are(tmp_path: Path):
    settings = {"labeled": 1, "unlabeled": 1, "val": 1, "size": 64}
    write_scenes(tmp_path, **settings)
    kept = tmp_path / "images" / "scene_000000.png"
    kept.write_bytes(b"touched")
    write_scenes(tmp_path, **settings)
    assert kept.read_bytes() == b"touched"


@pytest.mark.parametrize("found", [json.dumps({"labeled": 9}), "not json", None])
def test_other_content_is_an_error_and_stays(tmp_path: Path, found: str | None):
    (tmp_path / "mine.txt").write_text("precious")
    if found is not None:
        (tmp_path / "scenes.json").write_text(found)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(DataError, match="remedy"):
        write_scenes(tmp_path, labeled=1, unlabeled=0, val=0, size=64)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
