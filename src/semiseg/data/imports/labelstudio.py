"""Label Studio: JSON and JSON-MIN with brush strokes and polygons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from semiseg.data.imports.labels import BOX, Item, Labels, Shape
from semiseg.data.imports.trees import MALFORMED, Tree, holds_json, json_files
from semiseg.data.regions import Region, box_region, numbers, polygon_region
from semiseg.errors import DataError

_PNG_EXPORT = re.compile(r"(?:.*/)?task-\d+-annotation-\d+-by-.*\.(png|npy)")
_LABEL_KEYS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels", "keypointlabels", "labels")


def fits(tree: Tree) -> bool:
    """Whether it is such an export.

    Raises:
        DataError: it is an export as PNG, which does not say which image a mask is of.
    """
    found = holds_json(tree, is_label_studio)
    pictures = [name for name in tree.names if _PNG_EXPORT.fullmatch(name)]
    if pictures and not found:
        raise DataError(
            f"an export of Label Studio as PNG ({len(pictures):,} files), which names tasks and not images",
            where=tree.title(pictures[0]),
            expected="the JSON export, which holds the same brush strokes and the names of the images",
            remedy="export the project as JSON, and import that file",
        )
    return found


def is_label_studio(content: Any) -> bool:
    """Whether JSON is a list of tasks."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and (isinstance(first.get("data"), dict) or "image" in first)


def read(tree: Tree) -> Labels:
    """Read the tasks; classes are in the order of their names, a later shape covers an earlier one.

    Of several annotations of a task the one marked as ground truth is taken, else the last that was not skipped.
    Predictions are not looked at: no person has drawn them.

    Raises:
        DataError: a file is damaged.
    """
    items, several, predicted = [], 0, 0
    for name, tasks in json_files(tree, is_label_studio):
        try:
            for task in tasks:
                item, count = _item(task)
                items.append(item)
                several += count > 1
                predicted += count == 0 and bool(task.get("predictions"))
        except MALFORMED as error:
            raise DataError(
                f"unreadable tasks ({type(error).__name__}: {error})",
                where=tree.title(name),
                expected="a project exported as JSON or JSON-MIN",
                remedy="export the project again",
            ) from error
    notes = []
    if several:
        notes.append(f"{several:,} tasks have several annotations: the ground truth is taken, else the last")
    if predicted:
        notes.append(f"{predicted:,} tasks have only predictions of a model, which are not taken for labels")
    return Labels(items=items, notes=tuple(notes))


def _item(task: dict[str, Any]) -> tuple[Item, int]:
    """Return the image of a task, and the number of its annotations."""
    if "annotations" not in task and "data" not in task:  # JSON-MIN: one list of values for each control
        values = [value for entry in task.values() if isinstance(entry, list) for value in entry]
        regions = [value for value in values if isinstance(value, dict)]
        return _drawn(_image_name(task), regions), int(bool(regions))
    made = [entry for entry in task.get("annotations") or () if not entry.get("was_cancelled")]
    chosen = next((entry for entry in made if entry.get("ground_truth")), made[-1] if made else {"result": []})
    regions = [result | result["value"] for result in chosen["result"] if isinstance(result.get("value"), dict)]
    return _drawn(_image_name(task), regions), len(made)


def _drawn(image: str, regions: Sequence[dict[str, Any]]) -> Item:
    sizes = {(int(region["original_width"]), int(region["original_height"])) for region in regions if _is_sized(region)}
    turned = any(region.get("image_rotation") for region in regions)
    fault = "drawn on the turned image" if turned else "regions of different image sizes" if len(sizes) > 1 else None
    shapes = [shape for region in regions for shape in _shapes(region)]
    return Item(image=image, size=next(iter(sizes), None), shapes=shapes, fault=fault)


def _is_sized(region: dict[str, Any]) -> bool:
    return bool(region.get("original_width")) and bool(region.get("original_height"))


def _image_name(task: dict[str, Any]) -> str:
    """Return the name of a task's image: an upload, a file of a local folder or of a server, by its last part."""
    data = task.get("data", task)
    address = data.get("image") or next((value for value in data.values() if _is_address(value)), None)
    if not isinstance(address, str):
        raise ValueError("a task without an image")
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")  # /data/local-files/?d=folder/a.jpg
    return local[0] if local else unquote(parts.path).rpartition("/")[2]


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and "." in value.rpartition("/")[2]


def _shapes(region: dict[str, Any]) -> Iterator[Shape]:
    """Yield a shape for each label of a region; what has none (a choice, a text) is no region."""
    key = next((key for key in _LABEL_KEYS if isinstance(region.get(key), list)), None)
    for label in region[key] if key else ():
        if "rle" in region:
            yield Shape(label=str(label), kind="brush", region=partial(brush_region, region["rle"]))
        elif "points" in region:
            yield Shape(label=str(label), kind="polygon", region=partial(_polygon, region["points"]))
        elif key == "rectanglelabels" and not region.get("rotation"):
            sides = numbers([region[side] for side in ("x", "y", "width", "height")])
            yield Shape(label=str(label), kind=BOX, region=partial(_box, *sides))
        else:
            yield Shape(label=str(label), kind=(key or "").removesuffix("labels") or "object")


def _polygon(points: Sequence[Sequence[float]], height: int, width: int) -> Region:
    """Return a polygon whose corners are given in percent of the image."""
    corners_N2 = np.asarray(points, dtype=np.float64)
    if corners_N2.ndim != 2 or corners_N2.shape[1] != 2:
        raise ValueError("corners that are no pairs of numbers")
    return polygon_region([(corners_N2 * (width / 100, height / 100)).ravel().tolist()], height, width)


def _box(x: float, y: float, wide: float, high: float, height: int, width: int) -> Region:
    left, top, right, bottom = (value / 100 for value in (x, y, x + wide, y + high))
    return box_region(left * width, top * height, right * width, bottom * height, height, width)


def brush_region(packed: Sequence[int], height: int, width: int) -> Region:
    """Return the pixels of brush strokes: those whose alpha is 128 or more.

    The strokes are an RGBA image, packed by the format of the library rle-pack: 32 bits for the number of values, 5 for
    the bits of a value less one, four times 4 for the bits of a length less one; then runs, each a flag (1: one value
    repeated), 2 bits for which length, the length less one, and the value or the values.

    Raises:
        ValueError: damaged, or of another size.
    """
    bits = np.unpackbits(_as_bytes(packed))
    place = 0

    def number(count: int) -> int:
        nonlocal place
        if place + count > len(bits):
            raise ValueError("brush strokes that break off")
        place += count
        return int("".join(map(str, bits[place - count : place].tolist())), 2) if count else 0

    total, word = number(32), number(5) + 1
    lengths = [number(4) + 1 for _ in range(4)]
    if total != height * width * 4 or word != 8:
        raise ValueError(f"brush strokes of {total} values for {width} x {height} pixels")
    values = np.zeros(total, dtype=np.uint8)
    done = 0
    while done < total:
        repeated, count = number(1), number(lengths[number(2)]) + 1
        if done + count > total:
            raise ValueError("brush strokes that are too long")
        if repeated:
            values[done : done + count] = number(word)
        else:
            place += count * word
            if place > len(bits):
                raise ValueError("brush strokes that break off")
            values[done : done + count] = np.packbits(bits[place - count * word : place])
        done += count
    region_HW: Region = values.reshape(height, width, 4)[..., 3] >= 128
    return region_HW


def _as_bytes(packed: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    values = numbers(packed)
    if not ((values >= 0) & (values <= 255) & (values == values.round())).all():
        raise ValueError("brush strokes that are no bytes")
    return values.astype(np.uint8)
