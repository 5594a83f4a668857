"""Cityscapes: the 34 label ids to the 19 that are trained on; 2,975 training masks and 500 for validation.

The result may be the raw folder itself: its masks have names of their own, those of the publisher's scripts.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.prepare.making import IGNORE, Count, Job, Plan
from semiseg.data.reading import read_mask

TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label ids in the order of their train ids: road, sidewalk, building, ... bicycle. All others are ignored."""

_TABLE = np.full(256, IGNORE, dtype=np.uint8)  # 255, too: the licence plate, whose id is -1
_TABLE[list(TRAINED)] = np.arange(len(TRAINED))

_SUFFIX = "_gtFine_labelIds.png"


def plan(raw: Path, out: Path) -> Plan:
    """Plan `out/gtFine/PART/CITY/*_gtFine_labelTrainIds.png` and the link `out/leftImg8bit`.

    The 19,998 images of `leftImg8bit/train_extra`, which are learned from without masks, are counted if they are there.
    """
    sources = [(part, path) for part in ("train", "val") for path in sorted(raw.glob(f"gtFine/{part}/*/*{_SUFFIX}"))]
    extra = raw / "leftImg8bit/train_extra"
    return Plan(
        classes=len(TRAINED),
        expected=f"leftImg8bit/{{train,val}}/CITY/*_leftImg8bit.png and gtFine/{{train,val}}/CITY/*{_SUFFIX}",
        jobs=tuple(
            Job.of_mask(part, source, _target(source, raw, out), partial(train_ids, source)) for part, source in sources
        ),
        links={out / "leftImg8bit": raw / "leftImg8bit"},
        published={"train": 2_975, "val": 500},
        others={"train_extra": Count(len([*extra.glob("*/*.png")]), 19_998, "images")} if extra.is_dir() else {},
    )


def _target(source: Path, raw: Path, out: Path) -> Path:
    return out / source.relative_to(raw).with_name(source.name.removesuffix(_SUFFIX) + "_gtFine_labelTrainIds.png")


def train_ids(path: Path) -> NDArray[np.uint8]:
    """Read a mask of label ids as one of train ids, (H, W) uint8.

    Raises:
        DataError: as `read_mask`.
    """
    train_ids_HW: NDArray[np.uint8] = _TABLE[read_mask(path)]
    return train_ids_HW
