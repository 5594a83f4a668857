"""What LEVIR-CD and WHU-CD share: pairs of large images and the label of what changed, in tiles of 256 x 256 pixels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.prepare.making import Count, Plan
from semiseg.errors import DataError

SIDE = 256
"""Height and width of a tile in pixels."""

LABEL = "label"
FOLDERS = ("A", "B", LABEL)
"""The folders of the tiles: before, after, and what changed."""


def cut(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the tiles of an image (H, W, 3) or a label (H, W), row by row.

    What fills no tile, on the right or below, is left out.
    """
    height, width = pixels.shape[:2]
    corners = [(top, left) for top in range(0, height - SIDE + 1, SIDE) for left in range(0, width - SIDE + 1, SIDE)]
    return [pixels[top : top + SIDE, left : left + SIDE] for top, left in corners]


def changed(label_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a label of 0 and either 1 or 255 as one of 0 (unchanged) and 255 (changed), as published, (H, W) uint8.

    Raises:
        DataError: the label holds other values.
    """
    values = np.flatnonzero(np.bincount(label_HW.ravel(), minlength=256))
    wrong = [int(value) for value in values if value not in (0, 1, 255)]
    if wrong:
        raise DataError(
            f"label values {wrong[:8]}", expected="0, and 1 or 255 where something changed", remedy="fetch it again"
        )
    return np.where(label_HW > 0, np.uint8(255), np.uint8(0))


def plan_links(raw: Path, out: Path, names: dict[str, str], published: dict[str, int]) -> Plan | None:
    """Plan links to `raw/A`, `raw/B` and `raw/label` if they hold tiles under published names, else return None.

    Args:
        raw: the folder that may hold tiles.
        out: the folder for the result.
        names: by part, the pattern of the names of its tiles.
        published: by part, the number of tiles in the published data set.
    """
    present = set.intersection(*({path.name for path in (raw / folder).glob("*.png")} for folder in FOLDERS))
    found = {part: sum(bool(re.fullmatch(pattern, name)) for name in present) for part, pattern in names.items()}
    if not any(found.values()):
        return None
    return Plan(
        classes=2,
        expected="A/*.png, B/*.png and label/*.png",
        jobs=(),
        links={out / folder: raw / folder for folder in FOLDERS},
        published={},
        others={part: Count(number, published[part]) for part, number in found.items()},
    )
