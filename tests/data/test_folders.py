from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from semiseg.data.folders import find_samples, real_paths, refuse_lonely_masks
from semiseg.data.lists import Sample
from semiseg.data.spec import PAIRS, DatasetSpec
from semiseg.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


SINGLE = DatasetSpec(name="fields", classes=("soil", "crop"), frames=("img",), masks="gt")


def test_masks_are_those_of_the_images_name_and_place(tmp_path: Path) -> None:
    touch(tmp_path, "img/train/a.jpg", "img/train/b.x.JPG", "img/val/a.jpg", "gt/train/a.png", "gt/train/b.x.tif")
    frames = [("img/train/a.jpg", "gt/train/a.png"), ("img/train/b.x.JPG", "gt/train/b.x.tif")]
    wanted = [Sample(image, (tmp_path / image,), tmp_path / mask) for image, mask in frames]
    assert find_samples(tmp_path, SINGLE, part="train") == wanted
    bare = find_samples(tmp_path, SINGLE, part="train", masks=False)
    assert bare == [replace(sample, mask=None) for sample in wanted]
    both = find_samples(tmp_path, SINGLE)
    assert both == [*wanted, Sample("img/val/a.jpg", (tmp_path / "img/val/a.jpg",), None)]


def test_pairs_are_those_of_one_name_and_place(tmp_path: Path) -> None:
    touch(tmp_path, "A/x.jpg", "A/n/x.png", "B/x.tif", "B/n/x.png", "label/n/x.png", "A/.hidden.png", "B/notes.txt")
    assert find_samples(tmp_path, PAIRS) == [
        Sample("x.jpg", (tmp_path / "A/x.jpg", tmp_path / "B/x.tif"), None),
        Sample("n/x.png", (tmp_path / "A/n/x.png", tmp_path / "B/n/x.png"), tmp_path / "label/n/x.png"),
    ]
    part = find_samples(tmp_path, PAIRS, part="n", masks=False)
    assert part == [Sample("n/x.png", (tmp_path / "A/n/x.png", tmp_path / "B/n/x.png"), None)]


def test_half_pairs_are_named_whichever_half_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "A/x.png", "A/y.png", "B/x.png", "B/z.png")
    with pytest.raises(DataError, match=r"(?s)2 images are without the other.*A/y\.png, .*B/z\.png.*A/ and B/.*remedy"):
        find_samples(tmp_path, PAIRS)


def test_a_mask_without_an_image_is_no_slip_if_it_is_known(tmp_path: Path) -> None:
    spec = replace(SINGLE, frames=("train",), masks="masks")
    touch(tmp_path, "train/a.jpg", "masks/a.png", "masks/b.png")
    known = Sample("val/b.jpg", (tmp_path / "val/b.jpg",), tmp_path / "masks/b.png")
    refuse_lonely_masks(tmp_path, spec, known=[known])
    with pytest.raises(DataError, match=r"(?s)mask without an image.*b\.png"):
        refuse_lonely_masks(tmp_path, spec, known=[])


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
