"""WHU-CD: one place of 32,507 x 15,354 pixels in 2012 and 2016, in 7,434 tiles.

How the published tiles, whucd_00001.png to whucd_07434.png, lie in the scene is documented nowhere. It can be inferred:

- 7,434 is 126 x 59, the whole tiles that the scene holds.
- A public list of the tiles with changes (VCISwang/RC-Change-Detection) shows the columns: a tile 126 numbers after one
  with changes has changes 2.5 times as often as any tile. So has the next one, and no distance but those beside 126
  comes near, in each third of the numbers alike.
- The same list shows the corner: placed row by row from the upper left, it has its changes where the labels have
  theirs (over 12 regions correlated by 0.96; by at most 0.55 from another corner).

So the tiles are numbered row by row from the upper left. Assumed is that the first tile begins at the first pixel.

The scene is published whole, or in two parts of which the left one's last column is the right one's first, by
their georeferences. That both hold the same pixels is assumed, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semiseg.data.extras import require_library
from semiseg.data.prepare.making import Job, Plan
from semiseg.data.prepare.tiles import FOLDERS, LABEL, SIDE, changed, cut, plan_links
from semiseg.errors import DataError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

GRID = (126, 59)
"""Columns and rows of the published tiles."""

_PUBLISHED = {"all": 7_434}
_DATA = "1. The two-period image data"
_PLACES = (f"Building change detection dataset/{_DATA}", f"Building change detection dataset_add/{_DATA}", _DATA, ".")
_WHOLE = (("before/before.tif",), ("after/after.tif",), ("change label/change_label.tif",))
_PARTS = tuple(
    tuple(path.format(part) for part in ("train", "test"))
    for path in (
        "2012/whole_image/{0}/image/2012_{0}.tif",
        "2016/whole_image/{0}/image/2016_{0}.tif",
        "change_label/{0}/change_label.tif",
    )
)
"""Of each folder of tiles the files of its scene, from left to right, in the two releases."""

Scene = tuple[Path, ...]
"""The files of a large image or label, from left to right; each begins with the last column of the one before."""


def plan(raw: Path, out: Path) -> Plan:
    """Plan `out/{A,B,label}/whucd_00001.png` and so on, or links to them if the release is in tiles already.

    Where a scene does not hold 126 x 59 tiles, they are called tile_00001.png and so on: the published lists
    would name other places.

    Raises:
        DataError: rasterio is not installed, or the scenes are incomplete, unreadable or of different sizes.
    """
    tiles = plan_links(raw, out, {"all": r"whucd_\d{5}\.png"}, _PUBLISHED)
    if tiles:
        return tiles
    scenes = _find_scenes(raw)
    return Plan(
        classes=2,
        expected=f"{_DATA}/ with {', '.join(path for paths in _WHOLE for path in paths)}, or with {_PARTS[0][0]} and "
        "so on, or A/, B/ and label/ with tiles whucd_00001.png and so on",
        jobs=tuple(_jobs(scenes, out)) if scenes else (),
        links={},
        published=_PUBLISHED,
    )


def _find_scenes(raw: Path) -> dict[str, Scene] | None:
    """Return the files of each folder of tiles, or None if there is no scene."""
    for place in _PLACES:
        for layout in (_WHOLE, _PARTS):
            if (raw / place / layout[0][0]).exists():
                scenes = [tuple(raw / place / path for path in paths) for paths in layout]
                return dict(zip(FOLDERS, scenes, strict=True))
    return None


def _jobs(scenes: dict[str, Scene], out: Path) -> Iterator[Job]:
    require_library("rasterio", extra="geo")
    columns, rows = (side // SIDE for side in _common_size(scenes))
    name = "whucd_{:05}.png" if (columns, rows) == GRID else "tile_{:05}.png"
    for folder, scene in scenes.items():
        for row in range(rows):
            numbers = range(row * columns + 1, (row + 1) * columns + 1)
            files = tuple(out / folder / name.format(number) for number in numbers)
            part, label = ("all", True) if folder == LABEL else (None, False)
            yield Job(part, scene[0], files, partial(cut_strip, scene, row * SIDE, label=label))


def _common_size(scenes: dict[str, Scene]) -> tuple[int, int]:
    """Return the width and the height that all scenes have."""
    sizes = {folder: _size(scene) for folder, scene in scenes.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(
            "the scenes differ in size",
            where=", ".join(f"{scenes[folder][0]} ({width} x {height})" for folder, (width, height) in sizes.items()),
            expected="two images and a label of one size",
            remedy="fetch the release again",
        )
    return sizes[LABEL]


def _size(scene: Scene) -> tuple[int, int]:
    sizes = []
    for path in scene:
        with _opened(path) as source:
            sizes.append((source.width, source.height))
    if len({height for _, height in sizes}) > 1:
        raise DataError(
            f"parts of a scene with heights {[height for _, height in sizes]}",
            where=scene[0],
            expected="one height",
            remedy="fetch the release again",
        )
    return sum(width for width, _ in sizes) - (len(sizes) - 1), sizes[0][1]


def cut_strip(scene: Scene, top: int, *, label: bool) -> list[NDArray[np.uint8]]:
    """Read 256 rows of an image, or of a label of 0 and 1 or 255, as tiles, (256, 256, 3) or (256, 256) of uint8.

    A strip of the whole scene takes 25 MB.

    Raises:
        DataError: a file is missing, damaged or not of 8 bits, or a label holds other values.
    """
    parts = [_read_rows(path, top, label)[:, min(number, 1) :] for number, path in enumerate(scene)]
    strip = np.concatenate(parts, axis=1)
    return cut(changed(strip[..., 0]) if label else strip)


def _read_rows(path: Path, top: int, label: bool) -> NDArray[np.uint8]:
    """Return 256 rows, (256, W, 1) of a label or (256, W, 3) of an image."""
    bands = [1] if label else [1, 2, 3]
    with _opened(path) as source:
        if source.count < len(bands) or set(source.dtypes) != {"uint8"}:
            raise DataError(
                f"scene with {source.count} bands of {source.dtypes[0]} in {path}",
                expected=f"{len(bands)} of uint8",
                remedy="fetch the release again",
            )
        pixels_CHW: NDArray[np.uint8] = source.read(bands, window=((top, top + SIDE), (0, source.width)))
    return np.moveaxis(pixels_CHW, 0, -1)


@contextmanager
def _opened(path: Path) -> Iterator[DatasetReader]:
    """Open a scene with rasterio, which reads it in strips, however it is compressed."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as source:
                yield source
    except OSError as error:
        raise DataError(
            f"damaged or missing scene {path} ({str(error).splitlines()[0]})",
            expected="a TIFF of the release",
            remedy="fetch the release again",
        ) from error
