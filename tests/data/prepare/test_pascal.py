from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from semiseg.data.prepare import prepare
from semiseg.errors import DataError

Mask = NDArray[np.uint8]
Save = Callable[[Path, Mask], None]
MasksIn = Callable[[Path], dict[str, Mask]]
Release = tuple[Path, dict[str, Mask]]


def voc_palette() -> list[int]:
    """The colours of VOC: bit k of an id goes to bit 7 - k // 3 of channel k mod 3."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((np.arange(256) >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return colours.ravel().tolist()


def write_palette_mask(path: Path, mask_HW: Mask) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask_HW)
    image.putpalette(voc_palette())
    image.save(path)


def write_sbd(path: Path, mask_HW: Mask) -> None:
    """Write a mask as SBD does: a struct of the boundaries by class, the class ids and the classes present."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((20, 1), dtype=object)
    boundaries[:] = [[np.zeros(mask_HW.shape, dtype=bool)]] * 20
    present = np.setdiff1d(mask_HW, [0]).reshape(-1, 1)
    struct = {"Boundaries": boundaries, "Segmentation": mask_HW, "CategoriesPresent": present}
    savemat(path, {"GTcls": struct}, do_compression=True)


@pytest.fixture
def pascal(tmp_path: Path, save: Save) -> Release:
    """Two VOC training masks, one for validation; SBD has one of either of them, and two of its own."""
    raw, masks = tmp_path / "raw", {}
    voc, sbd = raw / "VOCdevkit/VOC2012", raw / "benchmark_RELEASE/dataset"
    names = ["2007_000032", "2007_000039", "2007_000033", "2008_000002", "2008_000003"]
    for number, name in enumerate(names):
        save(voc / f"JPEGImages/{name}.jpg", np.zeros((8, 12, 3), dtype=np.uint8))
        masks[name] = np.full((8, 12), number + 1, dtype=np.uint8)
    for name in names[:3]:
        masks[name][2:5, 3:7] = 20
        masks[name][1, :] = 255
        write_palette_mask(voc / f"SegmentationClass/{name}.png", masks[name])
    for name in names[1:3]:
        write_sbd(sbd / f"cls/{name}.mat", np.zeros((8, 12), dtype=np.uint8))
    for name in names[3:]:
        masks[name][4:, :6] = 0
        write_sbd(sbd / f"cls/{name}.mat", masks[name])
    lists = voc / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n2007_000039\n")
    (lists / "val.txt").write_text("2007_000033\n")
    return raw, masks


def test_vocs_own_masks_win_and_sbd_gives_the_rest_but_none_for_validation(
    pascal: Release, tmp_path: Path, masks_in: MasksIn
) -> None:
    raw, masks = pascal
    done = prepare("pascal", raw, tmp_path / "out", workers=0)
    made = masks_in(tmp_path / "out/SegmentationClass")
    assert list(made) == [f"{name}.png" for name in sorted(masks)]
    for name, mask_HW in masks.items():
        assert np.array_equal(made[f"{name}.png"], mask_HW), name
    assert (done.counts["train"].found, done.counts["val"].found) == (4, 1)
    assert done.differences == ("train: 4 masks, published 10,582", "val: 1 masks, published 1,449")
    assert (tmp_path / "out/JPEGImages/2007_000032.jpg").samefile(raw / "VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg")


def test_the_contents_of_the_two_releases_may_lie_in_one_folder(pascal: Release, tmp_path: Path) -> None:
    raw, masks = pascal
    flat = tmp_path / "flat"
    shutil.copytree(raw / "VOCdevkit/VOC2012", flat)
    shutil.copytree(raw / "benchmark_RELEASE/dataset/cls", flat / "cls")
    assert prepare("pascal", flat, tmp_path / "out", workers=0).made == len(masks)


def test_without_sbd_vocs_masks_are_made_and_neither_scipy_nor_sbd_is_missed(
    pascal: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, _ = pascal
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(DataError, match=r"scipy is not installed[\s\S]*semiseg\[prepare\]"):
        prepare("pascal", raw, tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()
    shutil.rmtree(raw / "benchmark_RELEASE")
    done = prepare("pascal", raw, tmp_path / "out", workers=0)
    assert done.differences[0] == "train: 2 masks, published 10,582"


def test_damaged_files_are_named_at_the_end_and_the_others_are_made(
    pascal: Release, tmp_path: Path, masks_in: MasksIn
) -> None:
    raw, masks = pascal
    broken = [
        raw / "VOCdevkit/VOC2012/SegmentationClass/2007_000032.png",
        raw / "benchmark_RELEASE/dataset/cls/2008_000002.mat",
    ]
    for path in broken:
        path.write_bytes(path.read_bytes()[:-40])
    (raw / "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png").unlink()
    with pytest.raises(DataError, match="3 raw files or masks cannot be used; all other 2 files") as caught:
        prepare("pascal", raw, tmp_path / "out", workers=0)
    assert all(str(path) in str(caught.value) for path in broken)
    assert "2007_000033.png: image not found" in str(caught.value)
    assert list(masks_in(tmp_path / "out/SegmentationClass")) == ["2007_000039.png", "2008_000003.png"]
    write_sbd(broken[1], masks["2008_000002"])
    with pytest.raises(DataError, match="2 raw files"):
        prepare("pascal", raw, tmp_path / "out", workers=0)
    made = masks_in(tmp_path / "out/SegmentationClass")
    assert np.array_equal(made["2008_000002.png"], masks["2008_000002"])


@pytest.mark.parametrize(
    "content",
    [
        {"other": np.zeros((2, 2), dtype=np.uint8)},
        {"GTcls": np.zeros((2, 2), dtype=np.uint8)},
        {"GTcls": {"Segmentation": np.zeros((2, 2))}},
        {"GTcls": {"Segmentation": np.zeros((2, 2, 2), dtype=np.uint8)}},
    ],
)
def test_a_matlab_file_of_another_kind_is_unusable(pascal: Release, tmp_path: Path, content: dict[str, Any]) -> None:
    raw, _ = pascal
    savemat(raw / "benchmark_RELEASE/dataset/cls/2008_000003.mat", content)
    with pytest.raises(DataError, match=r"2008_000003.mat: unreadable SBD mask"):
        prepare("pascal", raw, tmp_path / "out", workers=0)


def test_a_class_that_pascal_does_not_have_is_unusable(pascal: Release, tmp_path: Path) -> None:
    raw, _ = pascal
    write_sbd(raw / "benchmark_RELEASE/dataset/cls/2008_000003.mat", np.full((8, 12), 21, dtype=np.uint8))
    with pytest.raises(DataError, match=r"2008_000003.mat: mask values \[21\] are no class"):
        prepare("pascal", raw, tmp_path / "out", workers=0)


def test_without_vocs_lists_nothing_is_made(pascal: Release, tmp_path: Path) -> None:
    raw, _ = pascal
    lists = raw / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    (lists / "train.txt").write_text("../../secret\n")
    with pytest.raises(DataError, match=r"'../../secret' is not the name of a file"):
        prepare("pascal", raw, tmp_path / "out", workers=0)
    (lists / "val.txt").unlink()
    (lists / "train.txt").write_text("2007_000032\n")
    with pytest.raises(DataError, match="unreadable list"):
        prepare("pascal", raw, tmp_path / "out", workers=0)
    shutil.rmtree(lists)
    with pytest.raises(DataError, match=r"no VOC 2012 found[\s\S]*VOCdevkit/VOC2012"):
        prepare("pascal", raw, tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()
