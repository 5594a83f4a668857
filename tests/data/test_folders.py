from __future__ import annotations

import os
from pathlib import Path

import pytest

from semiseg.data.folders import find_masks, images_below, real_paths, refuse_lonely_masks
from semiseg.data.lists import Sample
from semiseg.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_masks_are_those_of_the_images_name_and_place(tmp_path: Path) -> None:
    touch(tmp_path, "img/train/a.jpg", "img/train/b.x.JPG", "img/val/a.jpg", "gt/train/a.png", "gt/train/b.x.tif")
    samples = images_below(tmp_path, "img/train")
    assert [(sample.id, sample.frames, sample.mask) for sample in samples] == [
        ("img/train/a.jpg", (tmp_path / "img/train/a.jpg",), None),
        ("img/train/b.x.JPG", (tmp_path / "img/train/b.x.JPG",), None),
    ]
    found = find_masks(samples, tmp_path, "img", "gt")
    assert [sample.mask for sample in found] == [tmp_path / "gt/train/a.png", tmp_path / "gt/train/b.x.tif"]


def test_a_mask_without_an_image_is_no_slip_if_it_is_known(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.jpg", "masks/a.png", "masks/b.png")
    known = Sample("val/b.jpg", (tmp_path / "val/b.jpg",), tmp_path / "masks/b.png")
    refuse_lonely_masks(tmp_path, "train", "masks", known=[known])
    with pytest.raises(DataError, match=r"(?s)mask without an image.*b\.png"):
        refuse_lonely_masks(tmp_path, "train", "masks", known=[])


def test_real_paths_follow_links_of_folders_and_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "disk/a.jpg", "disk/b.jpg", "here.jpg")
    (tmp_path / "folder").symlink_to("disk")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/c.jpg").symlink_to("../folder/b.jpg")
    names = [
        "folder/a.jpg",
        "mine/c.jpg",
        "here.jpg",
        "mine/../disk/a.jpg",
        "missing/x.jpg",
        str(tmp_path / "here.jpg"),
    ]
    assert real_paths(map(Path, names)) == [os.path.realpath(name) for name in names]


def test_real_paths_ask_the_disk_once_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 118,287 files on a network disk: one question each would be minutes.
    touch(tmp_path, "a.jpg")
    asked: list[str] = []
    follow = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: (asked.append(str(path)), follow(path))[1])
    assert len(real_paths(tmp_path / f"{number}.jpg" for number in range(1000))) == 1000
    assert asked == [str(tmp_path)]
