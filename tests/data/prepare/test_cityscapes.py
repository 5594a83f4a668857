from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semiseg.data.prepare import Count, prepare
from semiseg.errors import DataError

Mask = NDArray[np.uint8]
Save = Callable[[Path, Mask], None]
MasksIn = Callable[[Path], dict[str, Mask]]
Release = tuple[Path, Mask]

# The table of the publisher's labels.py.
TRAIN_ID = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15,
    31: 16, 32: 17, 33: 18,
}  # fmt: skip


@pytest.fixture
def cityscapes(tmp_path: Path, save: Save) -> Release:
    """Two training places and one for validation, each with all 34 label ids and the one of licence plates."""
    labels_HW = np.arange(36, dtype=np.uint8).reshape(6, 6)
    labels_HW[-1, -1], labels_HW[-1, -2] = 255, 34
    places = {"aachen_000000_000019": "train", "ulm_000001_000019": "train", "lindau_000002_000019": "val"}
    for place, part in places.items():
        city = f"{part}/{place.partition('_')[0]}/{place}"
        save(tmp_path / f"raw/gtFine/{city}_gtFine_labelIds.png", labels_HW)
        save(tmp_path / f"raw/gtFine/{city}_gtFine_instanceIds.png", labels_HW)
        save(tmp_path / f"raw/leftImg8bit/{city}_leftImg8bit.png", np.zeros((6, 6, 3), dtype=np.uint8))
    return tmp_path / "raw", labels_HW


def test_label_ids_become_train_ids_and_all_others_are_ignored(
    cityscapes: Release, tmp_path: Path, masks_in: MasksIn
) -> None:
    raw, labels_HW = cityscapes
    done = prepare("cityscapes", raw, tmp_path / "out", workers=0)
    expected_HW = np.array([[TRAIN_ID.get(int(label), 255) for label in row] for row in labels_HW], dtype=np.uint8)
    made = masks_in(tmp_path / "out/gtFine")
    assert list(made) == [
        "train/aachen/aachen_000000_000019_gtFine_labelTrainIds.png",
        "train/ulm/ulm_000001_000019_gtFine_labelTrainIds.png",
        "val/lindau/lindau_000002_000019_gtFine_labelTrainIds.png",
    ]
    assert all(np.array_equal(mask_HW, expected_HW) for mask_HW in made.values())
    assert done.counts == {"train": Count(2, 2_975), "val": Count(1, 500)}
    assert (tmp_path / "out/leftImg8bit/val/lindau/lindau_000002_000019_leftImg8bit.png").is_file()


def test_the_raw_folder_may_be_the_result(cityscapes: Release) -> None:
    raw, _ = cityscapes
    before = {path: path.read_bytes() for path in raw.rglob("*") if path.is_file()}
    assert prepare("cityscapes", raw, raw, workers=0).made == 3
    after = {path: path.read_bytes() for path in raw.rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    assert {path.name.partition("gtFine_")[2] for path in after.keys() - before} == {"labelTrainIds.png"}
    assert not (raw / "leftImg8bit").is_symlink()
    assert prepare("cityscapes", raw, raw, workers=0).existed == 3


def test_extra_images_are_counted_and_need_no_mask(cityscapes: Release, tmp_path: Path, save: Save) -> None:
    raw, _ = cityscapes
    image = raw / "leftImg8bit/train_extra/erlangen/erlangen_000000_000000_leftImg8bit.png"
    save(image, np.zeros((6, 6, 3), dtype=np.uint8))
    done = prepare("cityscapes", raw, tmp_path / "out", workers=0)
    assert done.counts["train_extra"] == Count(1, 19_998, "images")
    assert done.differences[-1] == "train_extra: 1 images, published 19,998"
    assert done.made == 3


def test_masks_without_images_are_refused(cityscapes: Release, tmp_path: Path) -> None:
    raw, _ = cityscapes
    (raw / "leftImg8bit").rename(raw / "images")
    with pytest.raises(DataError, match=r"no such image folder[\s\S]*leftImg8bit"):
        prepare("cityscapes", raw, tmp_path / "out", workers=0)
