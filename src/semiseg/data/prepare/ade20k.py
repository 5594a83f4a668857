"""ADE20K, the release of the SceneParse150 challenge: 20,210 training masks and 2,000 for validation."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.prepare.making import Job, Plan, find_folder
from semiseg.data.reading import read_mask


def plan(raw: Path, out: Path) -> Plan:
    """Plan `out/annotations/{training,validation}/*.png` and the link `out/images`."""
    release = find_folder(raw, ("ADEChallengeData2016", "."), "annotations") or raw
    parts = {"train": "annotations/training", "val": "annotations/validation"}
    return Plan(
        classes=150,
        expected="ADEChallengeData2016/{images,annotations}/{training,validation}, or the contents of that folder",
        jobs=tuple(
            Job.of_mask(part, source, out / folder / source.name, partial(classes, source))
            for part, folder in parts.items()
            for source in sorted((release / folder).glob("*.png"))
        ),
        links={out / "images": release / "images"},
        published={"train": 20_210, "val": 2_000},
    )


def classes(path: Path) -> NDArray[np.uint8]:
    """Read a mask of 0 (no class) and 1 to 150 as one of 255 and 0 to 149, (H, W) uint8.

    Raises:
        DataError: as `read_mask`.
    """
    return read_mask(path) - np.uint8(1)  # of 8 bits: 0 becomes 255
