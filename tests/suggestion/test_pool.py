"""What there is to choose from: never what is labeled, evaluated on, or somebody's test set."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from semiseg.data import DataConfig
from semiseg.errors import DataError
from semiseg.suggestion import find_pool


def test_a_folder_of_images_alone_is_a_pool(photos: Path) -> None:
    pool = find_pool(DataConfig(root=str(photos)))
    assert len(pool.unlabeled) == 13
    assert not pool.labeled
    assert not pool.spec.classes


def data_folder(root: Path, images: int, masks: int, val: int = 0) -> Path:
    """Write a data folder of which the first images have masks, and the very first are to be evaluated on."""
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir(parents=True)
    (root / "dataset.yaml").write_text("classes: [soil, crop]\n")
    for number in range(images):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(root / f"images/{number}.png")
    for number in range(masks):
        Image.new("L", (8, 8), 1).save(root / f"masks/{number}.png")
    if val:
        lines = [f"images/{number}.png masks/{number}.png\n" for number in range(val)]
        (root / "splits/val.txt").write_text("".join(lines))
    return root


def test_a_data_folder_needs_no_mask_and_those_it_has_are_labeled(tmp_path: Path) -> None:
    pool = find_pool(DataConfig(root=str(data_folder(tmp_path / "new", images=5, masks=0))))
    assert (len(pool.labeled), len(pool.unlabeled)) == (0, 5)
    pool = find_pool(DataConfig(root=str(data_folder(tmp_path / "begun", images=5, masks=3, val=2))))
    assert [sample.id for sample in pool.labeled] == ["images/2.png"]
    assert [sample.id for sample in pool.unlabeled] == ["images/3.png", "images/4.png"]


def test_lists_say_what_is_labeled(tiny_scenes: Path) -> None:
    pool = find_pool(DataConfig(root=str(tiny_scenes)))
    assert (len(pool.labeled), len(pool.unlabeled)) == (4, 6)
    assert all(sample.mask for sample in pool.labeled)


def test_images_of_further_folders_are_in_the_pool(tmp_path: Path, photos: Path) -> None:
    root = data_folder(tmp_path / "begun", images=2, masks=1)
    pool = find_pool(DataConfig(root=str(root), unlabeled=(str(photos),)))
    assert len(pool.unlabeled) == 1 + 13


def test_more_unlabeled_images_than_are_looked_at_are_drawn(photos: Path) -> None:
    pool = find_pool(DataConfig(root=str(photos)))
    few = pool.drawn(5, seed=0)
    assert len({sample.id for sample in few.unlabeled}) == 5
    assert few.notes[-1] == "5 of 13 unlabeled images are looked at, drawn at random (--pool)"
    assert pool.drawn(5, seed=0).unlabeled == few.unlabeled != pool.drawn(5, seed=1).unlabeled
    assert pool.drawn(13, seed=0) is pool


def test_a_folder_in_which_all_is_labeled_is_refused(tmp_path: Path) -> None:
    root = data_folder(tmp_path / "done", images=3, masks=3)
    with pytest.raises(DataError, match="no image is left to be labeled"):
        find_pool(DataConfig(root=str(root)))
