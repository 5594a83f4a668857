"""Masks as annotation tools take them in, to be corrected there: COCO, CVAT and Label Studio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from semiseg.data.palette import Palette

_MAKER = "semiseg data suggest"
_SIZES = (3, 4, 8, 16)
"""Bits of the lengths of runs, of which Label Studio's packing has four."""
_LONGEST = 1 << _SIZES[-1]


@dataclass(frozen=True, kw_only=True)
class Labeled:
    """An image and its mask.

    Attributes:
        place: of the image, below the folder `images`.
        mask_HW: class ids; what is no class is drawn by nobody.
    """

    place: str
    mask_HW: NDArray[np.uint8]

    def regions(self, classes: Sequence[str]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Yield the classes in the mask, and the pixels (H, W) of each."""
        for number in np.unique(self.mask_HW[self.mask_HW < len(classes)]).tolist():
            yield number, self.mask_HW == number


def run_lengths(inside: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of runs along the rows, the first of pixels outside, perhaps of none."""
    flat = inside.ravel()
    counts: list[int] = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
    return [0, *counts] if flat[0] else counts


def coco(labeled: Sequence[Labeled], classes: Sequence[str]) -> str:
    """Return instances as JSON: one region of run lengths for each class in an image, as COCO has its crowds."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, item in enumerate(labeled, 1):
        height, width = item.mask_HW.shape
        images.append({"id": number, "file_name": item.place, "height": height, "width": width})
        for id_, inside in item.regions(classes):
            region = {"size": [height, width], "counts": run_lengths(inside.T)}
            left, top, wide, high = _box(inside)
            about = {"id": len(annotations) + 1, "image_id": number, "category_id": id_ + 1, "iscrowd": 1}
            size = {"area": int(inside.sum()), "bbox": [left, top, wide, high]}
            annotations.append(about | size | {"segmentation": region})
    categories = [{"id": id_, "name": name} for id_, name in enumerate(classes, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps({"info": {"description": f"made by {_MAKER}, to be corrected"}, **content}) + "\n"


def cvat(labeled: Sequence[Labeled], classes: Sequence[str], palette: Palette) -> str:
    """Return `CVAT for images 1.1`: one mask for each class in an image."""
    labels = "".join(
        f"<label><name>{escape(name)}</name><color>{_hex(colour)}</color></label>"
        for name, colour in zip(classes, palette, strict=True)
    )
    images = "".join(_cvat_image(number, item, classes) for number, item in enumerate(labeled))
    head = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{head}{images}</annotations>\n'


def _cvat_image(number: int, item: Labeled, classes: Sequence[str]) -> str:
    shapes = []
    for id_, inside in item.regions(classes):
        left, top, wide, high = _box(inside)
        runs = ", ".join(map(str, run_lengths(inside[top : top + high, left : left + wide])))
        where = f'left="{left}" top="{top}" width="{wide}" height="{high}" z_order="0"'
        shapes.append(f'<mask label={quoteattr(classes[id_])} source="auto" occluded="0" rle="{runs}" {where}></mask>')
    height, width = item.mask_HW.shape
    size = f'width="{width}" height="{height}"'
    return f'<image id="{number}" name={quoteattr(item.place)} {size}>{"".join(shapes)}</image>\n'


def label_studio(labeled: Sequence[Labeled], classes: Sequence[str], folder: str) -> str:
    """Return tasks as JSON, with brush strokes as predictions, which a person accepts or corrects.

    Args:
        labeled: images and masks.
        classes: their names.
        folder: that holds `images`, below the folder that Label Studio serves files of.
    """
    tasks = []
    for item in labeled:
        address = f"/data/local-files/?d={quote(f'{folder}/images/{item.place}')}"
        strokes = [_stroke(number, inside, classes) for number, inside in item.regions(classes)]
        tasks.append({"data": {"image": address}, "predictions": [{"model_version": _MAKER, "result": strokes}]})
    return json.dumps(tasks) + "\n"


def _stroke(number: int, inside: NDArray[np.bool_], classes: Sequence[str]) -> dict[str, Any]:
    height, width = inside.shape
    return {
        "id": f"class{number}",
        "type": "brushlabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": packed_brush(inside), "brushlabels": [classes[number]]},
    }


def packed_brush(inside: NDArray[np.bool_]) -> list[int]:
    """Return the bytes of brush strokes as Label Studio packs them (rle-pack): runs of equal values, four a pixel."""
    counts = run_lengths(inside)
    bits = [f"{4 * inside.size:032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for place, count in enumerate(counts):
        value, left = 255 * (place % 2), 4 * count
        while left:
            same = min(left, _LONGEST)
            which = next(index for index, size in enumerate(_SIZES) if same <= 1 << size)
            bits.append(f"1{which:02b}{same - 1:0{_SIZES[which]}b}{value:08b}")
            left -= same
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def label_config(classes: Sequence[str], palette: Palette) -> str:
    """Return the labeling interface of a project in Label Studio that these tasks fit."""
    labels = "".join(
        f"    <Label value={quoteattr(name)} background={quoteattr(_hex(colour))}/>\n"
        for name, colour in zip(classes, palette, strict=True)
    )
    image = '  <Image name="image" value="$image" zoom="true"/>\n'
    return f'<View>\n{image}  <BrushLabels name="label" toName="image">\n{labels}  </BrushLabels>\n</View>\n'


def _box(inside: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the box around some pixels."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    left, top, right, bottom = (int(end) for end in (columns[0], rows[0], columns[-1], rows[-1]))
    return left, top, right - left + 1, bottom - top + 1


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
