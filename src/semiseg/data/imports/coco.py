"""COCO's instance JSON: polygons and run lengths; also what CVAT, Label Studio, Roboflow and others export as COCO."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any

from semiseg.data.imports.labels import BOX, Item, Labels, Shape
from semiseg.data.imports.trees import MALFORMED, Tree, holds_json, json_files
from semiseg.data.regions import box_region, coco_region
from semiseg.errors import DataError, some


def fits(tree: Tree) -> bool:
    """Whether it is such an export."""
    return holds_json(tree, is_coco)


def is_coco(content: Any) -> bool:
    """Whether JSON has the three lists of COCO."""
    parts = ("images", "annotations", "categories")
    return isinstance(content, dict) and all(isinstance(content.get(part), list) for part in parts)


def read(tree: Tree) -> Labels:
    """Read all files of instances; their categories are one list, by name.

    An image that several files name has the shapes of all. Objects without a segmentation are boxes. Shapes are painted
    in the order of the file; a crowd is painted like a single object.

    Raises:
        DataError: a file is damaged.
    """
    items: dict[str, Item] = {}
    notes: list[str] = []
    order: dict[str, float] = {}
    shapes: dict[str, list[Shape]] = defaultdict(list)
    for name, content in json_files(tree, is_coco):
        try:
            _panoptic(content)
            labels = {category["id"]: str(category["name"]) for category in content["categories"]}
            for id_, label in labels.items():
                order.setdefault(label, float(id_))
            images = {image["id"]: _item(image) for image in content["images"]}
            items |= {item.image: item for item in images.values()}
            strays = []
            for entry in content["annotations"]:
                if entry["image_id"] in images:
                    shapes[images[entry["image_id"]].image].append(_shape(entry, labels[entry["category_id"]]))
                else:
                    strays.append(str(entry["image_id"]))
        except MALFORMED as error:
            raise DataError(
                f"unreadable instances ({type(error).__name__}: {error})",
                where=tree.title(name),
                expected="images, annotations and categories as in COCO's instance files",
                remedy="export the annotations again",
            ) from error
        if strays:
            notes.append(f"{len(strays):,} annotations of images that {name} does not list: {some(strays, 5)}")
    found = [Item(image=item.image, size=item.size, shapes=shapes[item.image]) for item in items.values()]
    return Labels(items=found, classes=tuple(sorted(order, key=order.__getitem__)), notes=tuple(notes))


def _panoptic(content: dict[str, Any]) -> None:
    if any("segments_info" in entry for entry in content["annotations"][:1]):
        raise ValueError("a panoptic file, whose masks are PNGs of segment ids; export instances instead")


def _item(image: dict[str, Any]) -> Item:
    size = (int(image["width"]), int(image["height"])) if image.get("width") and image.get("height") else None
    return Item(image=str(image["file_name"]), size=size)


def _shape(entry: dict[str, Any], label: str) -> Shape:
    segmentation, box = entry.get("segmentation"), entry.get("bbox")
    if segmentation:
        kind = "polygon" if isinstance(segmentation, list) else "mask"
        return Shape(label=label, kind=kind, region=partial(coco_region, segmentation))
    if isinstance(box, list) and len(box) == 4:
        left, top, width, height = map(float, box)
        return Shape(label=label, kind=BOX, region=partial(box_region, left, top, left + width, top + height))
    return Shape(label=label, kind="keypoints" if entry.get("keypoints") else "object without a segmentation")
