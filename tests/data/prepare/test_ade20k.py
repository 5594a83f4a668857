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


def test_classes_count_from_0_and_what_has_none_is_ignored(ade20k: Path, tmp_path: Path, masks_in: MasksIn) -> None:
    done = prepare("ade20k", ade20k, tmp_path / "out", workers=0)
    expected_HW = np.tile(np.array([255, *range(150)], dtype=np.uint8), (2, 1))
    made = masks_in(tmp_path / "out/annotations")
    assert len(made) == 3
    for number in (1, 2):
        assert np.array_equal(made[f"training/ADE_train_{number:08}.png"], expected_HW)
    assert (made["validation/ADE_val_00000001.png"] == 255).all()
    assert done.counts == {"train": Count(2, 20_210), "val": Count(1, 2_000)}
    assert (tmp_path / "out/images/training/ADE_train_00000002.jpg").is_file()


def test_the_release_itself_may_be_named(ade20k: Path, tmp_path: Path) -> None:
    assert prepare("ade20k", ade20k / "ADEChallengeData2016", tmp_path / "out", workers=0).made == 3


def test_raw_masks_are_never_replaced(ade20k: Path, tmp_path: Path) -> None:
    release = ade20k / "ADEChallengeData2016"
    (tmp_path / "out").symlink_to(release)
    before = {path: path.read_bytes() for path in release.rglob("*") if path.is_file()}
    for out in (release, tmp_path / "out"):
        with pytest.raises(DataError, match="would replace a raw one"):
            prepare("ade20k", release, out, workers=0)
    assert {path: path.read_bytes() for path in release.rglob("*") if path.is_file()} == before


def test_masks_that_are_prepared_already_are_no_raw_masks(ade20k: Path, tmp_path: Path, save: Save) -> None:
    path = ade20k / "ADEChallengeData2016/annotations/training/ADE_train_00000001.png"
    save(path, np.full((2, 3), 255, dtype=np.uint8))
    with pytest.raises(DataError, match=r"ADE_train_00000001.png: mask values \[254\] are no class"):
        prepare("ade20k", ade20k, tmp_path / "out", workers=0)
