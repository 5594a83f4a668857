from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from semiseg.data.folders import find_samples, passed_over, real_paths, refuse_lonely_masks
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
    assert find_samples(tmp_path, SINGLE, part="train").samples == wanted
    bare = find_samples(tmp_path, SINGLE, part="train", masks=False).samples
    assert bare == [replace(sample, mask=None) for sample in wanted]
    both = find_samples(tmp_path, SINGLE).samples
    assert both == [*wanted, Sample("img/val/a.jpg", (tmp_path / "img/val/a.jpg",), None)]


def test_pairs_are_those_of_one_name_and_place(tmp_path: Path) -> None:
    touch(tmp_path, "A/x.jpg", "A/n/x.png", "B/x.tif", "B/n/x.png", "label/n/x.png", "A/.hidden.png", "B/notes.txt")
    found = find_samples(tmp_path, PAIRS)
    assert found.passed_over == [tmp_path / "B/notes.txt"]
    assert found.samples == [
        Sample("x.jpg", (tmp_path / "A/x.jpg", tmp_path / "B/x.tif"), None),
        Sample("n/x.png", (tmp_path / "A/n/x.png", tmp_path / "B/n/x.png"), tmp_path / "label/n/x.png"),
    ]
    part = find_samples(tmp_path, PAIRS, part="n", masks=False).samples
    assert part == [Sample("n/x.png", (tmp_path / "A/n/x.png", tmp_path / "B/n/x.png"), None)]


@pytest.mark.parametrize("names", [("img/a.jpg", "img/a.png"), ("img/n/b.x.jpg", "img/n/b.x.PNG")])
def test_two_images_that_would_share_a_mask_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    touch(tmp_path, *names, "gt/a.png" if "a.jpg" in names[0] else "gt/n/b.x.png")
    with pytest.raises(
        DataError, match=r"(?s)[ab.x]+\.\w+ and [ab.x]+\.\w+ would share the mask.*where:.*remedy:.*rename"
    ):
        find_samples(tmp_path, SINGLE)
    assert len(find_samples(tmp_path, SINGLE, masks=False).samples) == 2


def test_two_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "img/a.jpg", "gt/a.png", "gt/a.tif")
    with pytest.raises(DataError, match=r"(?s)a\.png and a\.tif stand for one image.*gt/a\.png and .*gt/a\.tif"):
        find_samples(tmp_path, SINGLE)


@pytest.mark.parametrize("folder", ["A", "B"])
def test_two_images_of_one_place_in_a_pair_are_refused(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, "A/x.jpg", "B/x.jpg", f"{folder}/x.png")
    with pytest.raises(DataError, match=rf"(?s)x\.jpg and x\.png stand for one image.*{folder}/x\.png"):
        find_samples(tmp_path, PAIRS)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".gif", ".webp"])
def test_a_mask_of_another_kind_does_not_make_its_image_unlabeled(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, "img/a.jpg", "img/n/b.jpg", "gt/a.png", f"gt/n/b{suffix}")
    with pytest.raises(DataError, match=rf"(?s)1 masks are of a kind.*1 {suffix.lower()} .*gt/n/b{suffix}.*save them"):
        find_samples(tmp_path, SINGLE)
    touch(tmp_path, "gt/n/b.png")
    assert find_samples(tmp_path, SINGLE).passed_over == [tmp_path / f"gt/n/b{suffix}"]


def test_what_is_no_image_is_counted_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "img/a.jpg", "img/n/c.CR2", "img/b.cr2", "img/drive.mp4", "gt/README", "img/.hidden.mp4")
    found = find_samples(tmp_path, SINGLE)
    assert passed_over(found.passed_over) == (
        "2 .cr2, 1 .mp4, 1 without a suffix ("
        + ", ".join(f"{tmp_path}/{name}" for name in ("img/b.cr2", "img/drive.mp4", "img/n/c.CR2", "gt/README"))
        + "); `semiseg data frames` makes images of videos"
    )
    (tmp_path / "img/a.jpg").unlink()
    with pytest.raises(DataError, match=r"(?s)no images found.*not 2 \.cr2, 1 \.mp4"):
        find_samples(tmp_path, SINGLE)


def test_links_are_followed_and_each_folder_is_searched_once(tmp_path: Path) -> None:
    touch(tmp_path, "disk/a.jpg", "disk/n/b.jpg", "img/c.jpg", "far.jpg")
    (tmp_path / "img/disk").symlink_to(tmp_path / "disk")
    (tmp_path / "img/again").symlink_to("disk")
    (tmp_path / "disk/n/circle").symlink_to(tmp_path / "img")
    (tmp_path / "img/far.jpg").symlink_to("../far.jpg")
    found = find_samples(tmp_path, SINGLE)
    assert [sample.id for sample in found.samples] == [
        "img/c.jpg",
        "img/far.jpg",
        "img/again/a.jpg",
        "img/again/n/b.jpg",
    ]
    assert found.passed_over == [tmp_path / "img/again/n/circle", tmp_path / "img/disk"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "img/a.jpg", "img/closed/b.jpg")
    (tmp_path / "img/closed").chmod(0)
    with pytest.raises(DataError, match=r"(?s)a folder cannot be read.*img/closed"):
        find_samples(tmp_path, SINGLE)


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
