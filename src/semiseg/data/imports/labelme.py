"""Labelme: a JSON file beside each image, with polygons, boxes and masks."""

from __future__ import annotations

import base64
import binascii
import io
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from semiseg.data.imports.labels import BOX, Item, Labels, Shape
from semiseg.data.imports.trees import MALFORMED, Tree, holds_json, json_files
from semiseg.data.regions import Region, box_region, placed, polygon_region
from semiseg.errors import DataError


def fits(tree: Tree) -> bool:
    """Whether it is such an export."""
    return holds_json(tree, is_labelme)


def is_labelme(content: Any) -> bool:
    """Whether JSON is of Labelme."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def read(tree: Tree) -> Labels:
    """Read every file; a later shape covers an earlier one, as Labelme draws them. Classes are in the order of names.

    Raises:
        DataError: a file is damaged.
    """
    items = []
    for name, content in json_files(tree, is_labelme):
        try:
            items.append(_item(name, content))
        except MALFORMED as error:
            raise DataError(
                f"unreadable annotations ({type(error).__name__}: {error})",
                where=tree.title(name),
                expected="shapes and an imagePath, as Labelme saves them",
                remedy="save the file again with Labelme",
            ) from error
    return Labels(items=items)


def _item(name: str, content: dict[str, Any]) -> Item:
    # Windows writes backslashes. Only the name counts: a path may lead anywhere, so the image is looked for by name.
    image = PurePosixPath(str(content["imagePath"]).replace("\\", "/")).name
    if image in ("", "..") or "\0" in image:
        raise ValueError(f"an imagePath {image!r}")
    width, height = content.get("imageWidth"), content.get("imageHeight")
    data = content.get("imageData")
    return Item(
        image=str(PurePosixPath(name).with_name(image)),
        size=(int(width), int(height)) if width and height else None,
        shapes=[_shape(shape) for shape in content["shapes"]],
        embedded=partial(_decoded, data) if isinstance(data, str) and data else None,
    )


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"damaged base64 ({error})") from error


def _shape(shape: dict[str, Any]) -> Shape:
    label, kind = str(shape["label"]), str(shape.get("shape_type") or "polygon")
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if kind == "polygon":
        flat = [value for point in points for value in point]
        return Shape(label=label, kind=kind, region=partial(polygon_region, [flat]))
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        box = partial(box_region, min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        return Shape(label=label, kind=BOX, region=box)
    if kind == "mask" and isinstance(shape.get("mask"), str):
        return Shape(label=label, kind=kind, region=partial(_mask_region, shape["mask"], *points[0]))
    return Shape(label=label, kind=kind)


def _mask_region(text: str, left: float, top: float, height: int, width: int) -> Region:
    """Return the pixels of a small PNG that lies at a corner of the image."""
    try:
        with Image.open(io.BytesIO(_decoded(text)), formats=("PNG",)) as small:
            if small.width > width or small.height > height:
                raise ValueError("a mask larger than its image")
            inside_hw = np.asarray(small.convert("L")) > 0
    except (OSError, SyntaxError) as error:
        raise ValueError(f"damaged mask ({error})") from error
    return placed(inside_hw, round(left), round(top), height, width)
