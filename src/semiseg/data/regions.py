"""Regions of an image as annotation tools write them, as (H, W) bool: polygons, run lengths, boxes.

Whatever is wrong in a region raises `ValueError`, before anything larger than the image is allocated: files of
annotations come from strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Region = NDArray[np.bool_]

_FAR = 5
"""How many sides of the image a corner may lie away: a polygon's outline is walked pixel by pixel."""


def numbers(values: Sequence[float]) -> NDArray[np.float64]:
    """Return a list of numbers as an array (N,).

    Raises:
        ValueError: it is none.
    """
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, OverflowError) as error:
        raise ValueError("numbers expected") from error
    if found.ndim != 1:
        raise ValueError("a plain list of numbers expected")
    return found


def polygon_region(polygons: Sequence[Sequence[float]], height: int, width: int) -> Region:
    """Return the pixels in any of the polygons `[x, y, x, y, ...]`, in pixels, by the rule of COCO's own tools.

    Raises:
        ValueError: a polygon has fewer than three corners, or one that is no number or far outside.
    """
    from pycocotools import mask as runs

    reach = _FAR * max(height, width)
    checked = [numbers(polygon) for polygon in polygons]
    if not checked:
        raise ValueError("no polygon")
    for polygon in checked:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} numbers")
        if not (np.abs(polygon) <= reach).all():
            raise ValueError("a corner far outside of the image")
    encoded = runs.frPyObjects([polygon.tolist() for polygon in checked], height, width)
    region_HW: Region = runs.decode(runs.merge(encoded)).astype(bool)
    return region_HW


def run_region(counts: Sequence[int], height: int, width: int, *, by_columns: bool = True) -> Region:
    """Return the pixels of every second run length, beginning with a run of those outside.

    Args:
        counts: lengths of the runs; they sum to the number of pixels.
        height: of the image.
        width: of the image.
        by_columns: whether runs go down the columns, as COCO's do, or along the rows, as CVAT's do.

    Raises:
        ValueError: a length is no number or below 0, or they do not sum to the number of pixels.
    """
    lengths = numbers(counts)
    if not ((lengths >= 0) & (lengths == lengths.round())).all() or lengths.sum() != height * width:
        raise ValueError(f"run lengths that do not make {width} x {height} pixels")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths.astype(np.int64))
    return flat.reshape(width, height).T if by_columns else flat.reshape(height, width)


def coco_region(segmentation: Any, height: int, width: int) -> Region:
    """Return the pixels of a segmentation of COCO: polygons, or run lengths as a list or compressed.

    Raises:
        ValueError: it is none of these, damaged, or of another size.
    """
    if isinstance(segmentation, list):
        if not all(isinstance(polygon, list) for polygon in segmentation):
            raise ValueError("a polygon that is no list")
        return polygon_region(segmentation, height, width)
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), list | str):
        raise ValueError("neither polygons nor run lengths")
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"a region of {segmentation.get('size')} in an image of {[height, width]}")
    counts = segmentation["counts"]
    return run_region(_unpacked(counts) if isinstance(counts, str) else counts, height, width)


def _unpacked(text: str) -> list[int]:
    """Return the run lengths of a compressed list: five bits a character, from the third on as differences.

    The format is that of the COCO API (maskApi.c). Read here, as a damaged text must not reach code in C.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("damaged run lengths")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("run lengths that break off")
    return counts


def box_region(left: float, top: float, right: float, bottom: float, height: int, width: int) -> Region:
    """Return the pixels whose centers lie in a box, which may reach over the border.

    Raises:
        ValueError: a side is no number, or there is nothing between them.
    """
    if not np.isfinite(numbers((left, top, right, bottom))).all() or left > right or top > bottom:
        raise ValueError("a box without an inside")
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    region_HW: Region = ((rows >= top) & (rows <= bottom))[:, None] & ((columns >= left) & (columns <= right))
    return region_HW


def placed(inside_hw: Region, left: int, top: int, height: int, width: int) -> Region:
    """Return a small region at its place in an image.

    Raises:
        ValueError: it does not lie within.
    """
    bottom, right = top + inside_hw.shape[0], left + inside_hw.shape[1]
    if min(left, top) < 0 or right > width or bottom > height:
        raise ValueError("a mask that reaches out of its image")
    region_HW = np.zeros((height, width), dtype=bool)
    region_HW[top:bottom, left:right] = inside_hw
    return region_HW
