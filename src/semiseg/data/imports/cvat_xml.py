"""CVAT for images 1.1: one XML file with polygons, masks and boxes."""

from __future__ import annotations

import re
from functools import partial
from typing import NoReturn
from xml.etree import ElementTree

from semiseg.data.imports.labels import BOX, Item, Labels, Shape
from semiseg.data.imports.trees import Tree
from semiseg.data.palette import Colour
from semiseg.data.regions import Region, box_region, placed, polygon_region, run_region
from semiseg.errors import DataError

_NO_SHAPES = ("tag",)
"""What says something of a whole image."""


class _PlainTree(ElementTree.TreeBuilder):
    """Builds elements, and refuses the declaration that entities need: a few lines of them can stand for gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        """Refuse it."""
        raise ValueError("a document type, which CVAT does not write")


def fits(tree: Tree) -> bool:
    """Whether it is such an export."""
    return bool(_files(tree))


def _files(tree: Tree) -> list[str]:
    return [name for name in tree.names if name.lower().endswith(".xml") and b"<annotations" in tree.read(name)[:4096]]


def read(tree: Tree) -> Labels:
    """Read the images and their shapes, of which CVAT draws the one of the higher `z_order`, else the later, on top.

    Raises:
        DataError: a file is damaged, or of CVAT for video.
    """
    items: dict[str, Item] = {}
    colours: dict[str, Colour] = {}
    classes: dict[str, None] = {}
    for name in _files(tree):
        try:
            root = _parsed(tree.read(name))
            for label in root.iterfind("./meta//labels/label"):
                title = label.findtext("name", "")
                classes[title] = None
                colour = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", label.findtext("color", ""))
                if colour:
                    colours[title] = (int(colour[1], 16), int(colour[2], 16), int(colour[3], 16))
            for image in root.iterfind("image"):
                item = _item(image)
                items[item.image] = item
        except (LookupError, ValueError, ElementTree.ParseError) as error:
            raise DataError(
                f"unreadable XML ({error})",
                where=tree.title(name),
                expected="a task exported as `CVAT for images 1.1`",
                remedy="export it again in this format",
            ) from error
    drawn = {shape.label: None for item in items.values() for shape in item.shapes}
    return Labels(items=tuple(items.values()), classes=tuple(classes | drawn) if classes else (), colours=colours)


def _parsed(content: bytes) -> ElementTree.Element:
    root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_PlainTree()))
    if root.find("track") is not None:
        raise ValueError("tracks of `CVAT for video`, which name frames of a video and no images")
    return root


def _item(image: ElementTree.Element) -> Item:
    shapes = [(int(element.get("z_order", 0)), _shape(element)) for element in image if element.tag not in _NO_SHAPES]
    return Item(
        image=image.attrib["name"],
        size=(int(image.attrib["width"]), int(image.attrib["height"])),
        shapes=[shape for _, shape in sorted(shapes, key=lambda pair: pair[0])],
    )


def _shape(element: ElementTree.Element) -> Shape:
    facts, label = element.attrib, element.get("label", "")
    if element.tag == "polygon":
        corners = [float(value) for point in facts["points"].split(";") for value in point.split(",")]
        return Shape(label=label, kind="polygon", region=partial(polygon_region, [corners]))
    if element.tag == "box" and not float(facts.get("rotation", 0)):
        left, top, right, bottom = (float(facts[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
        return Shape(label=label, kind=BOX, region=partial(box_region, left, top, right, bottom))
    if element.tag == "mask":
        x, y, width, height = (int(facts[key]) for key in ("left", "top", "width", "height"))
        counts = [int(count) for count in facts["rle"].split(",")]
        return Shape(label=label, kind="mask", region=partial(_mask_region, counts, (x, y, width, height)))
    return Shape(label=label, kind="turned box" if element.tag == "box" else element.tag)


def _mask_region(counts: list[int], box: tuple[int, int, int, int], height: int, width: int) -> Region:
    """Return the pixels of run lengths along the rows of a box."""
    left, top, wide, high = box
    if not (0 < wide <= width and 0 < high <= height):
        raise ValueError("a mask larger than its image")
    return placed(run_region(counts, high, wide, by_columns=False), left, top, height, width)
