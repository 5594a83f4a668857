"""LEVIR-CD: 637 pairs of 1024 x 1024 pixels in tiles: 7,120 for training, 1,024 for validation, 2,048 for the test.

Tile N_1 of scene N is its upper left one, N_4 the upper right, N_16 the lower right. This is known: the published lists
name 1 to 16, and the publisher of the tiles that the published runs were trained on shows how they were cut, row by row
(wgcban/SemiCD, dataset_preparation/levir_cd_256.m).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.prepare.making import Job, Plan
from semiseg.data.prepare.tiles import FOLDERS, LABEL, SIDE, changed, cut, plan_links
from semiseg.data.reading import read_image, read_mask
from semiseg.errors import DataError

_SCENE = 1024
_TILES = (_SCENE // SIDE) ** 2
_PUBLISHED = {"train": 7_120, "val": 1_024, "test": 2_048}


def plan(raw: Path, out: Path) -> Plan:
    """Plan `out/{A,B,label}/train_1_1.png` and so on, or links to them if the release is in tiles already."""
    tiles = plan_links(raw, out, {part: rf"{part}_\d+_([1-9]|1[0-6])\.png" for part in _PUBLISHED}, _PUBLISHED)
    if tiles:
        return tiles
    release = raw / "LEVIR-CD" if (raw / "LEVIR-CD").is_dir() else raw
    return Plan(
        classes=2,
        expected="{train,val,test}/{A,B,label}/*.png, or A/, B/ and label/ with tiles train_1_1.png and so on",
        jobs=tuple(job for part in _PUBLISHED for job in _jobs(part, release / part, out)),
        links={},
        published=_PUBLISHED,
    )


def _jobs(part: str, scenes: Path, out: Path) -> list[Job]:
    """Plan the tiles of a part; a scene that lacks one of its three files is named when that file is read."""
    names = sorted({path.stem for folder in FOLDERS for path in (scenes / folder).glob("*.png")})
    return [
        Job(
            part if folder == LABEL else None,
            scenes / folder / f"{name}.png",
            tuple(out / folder / f"{name}_{number}.png" for number in range(1, _TILES + 1)),
            partial(cut_scene, scenes / folder / f"{name}.png", label=folder == LABEL),
        )
        for name in names
        for folder in FOLDERS
    ]


def cut_scene(path: Path, *, label: bool) -> list[NDArray[np.uint8]]:
    """Read an image, or a label of 0 and 255, as 16 tiles, (256, 256, 3) or (256, 256) of uint8.

    Raises:
        DataError: the file is missing, damaged, not of 1024 x 1024 pixels, or a label holds other values.
    """
    pixels: NDArray[np.uint8] = changed(read_mask(path)) if label else np.asarray(read_image(path))
    height, width = pixels.shape[:2]
    if (height, width) != (_SCENE, _SCENE):
        raise DataError(
            f"scene of {width} x {height} pixels",
            where=path,
            expected=f"{_SCENE} x {_SCENE} pixels, so that the tiles' numbers are the published ones",
            remedy="fetch the release again",
        )
    return cut(pixels)
