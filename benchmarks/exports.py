"""Exports of annotation tools, written by hand from masks, as the tools write them.

The tests use them, too: they are how imports are shown to give back what was drawn.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Mask = NDArray[np.uint8]
Colour = tuple[int, int, int]


def png(pixels: Mask) -> bytes:
    """Return a picture as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def coloured(mask_HW: Mask, colours: Mapping[int, Colour]) -> Mask:
    """Return a mask as a picture (H, W, 3)."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[list(colours)] = list(colours.values())
    pixels: Mask = table[mask_HW]
    return pixels


def run_lengths(inside: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of runs, beginning with one of zeros, perhaps of none."""
    flat = inside.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return [0, *counts] if flat[0] else counts


def compressed(counts: Sequence[int]) -> str:
    """Return run lengths as COCO packs them (maskApi.c): five bits a character, from the third on as differences."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            code = value & 0x1F
            value >>= 5
            more = value != (-1 if code & 0x10 else 0)
            text += chr((code | 0x20 if more else code) + 48)
    return text


def coco(masks: Mapping[str, Mask], classes: Sequence[str], *, packed: bool = False) -> dict[str, Any]:
    """Return instances of a class each; 255 and other values above the classes are drawn by nobody."""
    images, annotations = [], []
    for number, (name, mask_HW) in enumerate(masks.items(), 1):
        height, width = mask_HW.shape
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for id_ in np.unique(mask_HW[mask_HW < len(classes)]).tolist():
            counts = run_lengths((mask_HW == id_).T)
            region = {"size": [height, width], "counts": compressed(counts) if packed else counts}
            about = {"id": len(annotations) + 1, "image_id": number, "category_id": id_ + 1, "iscrowd": 0}
            annotations.append(about | {"segmentation": region})
    categories = [{"id": id_, "name": name} for id_, name in enumerate(classes, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def cvat_masks(
    path: Path, masks: Mapping[str, Mask], colours: Mapping[str, Colour], images: Mapping[str, bytes]
) -> None:
    """Write `Segmentation mask 1.1` as a ZIP; what is of no class is background, black."""
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, colour))}::" for name, colour in colours.items()]
    table = dict(enumerate(colours.values()))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("labelmap.txt", "\n".join(lines) + "\n")
        file.writestr("ImageSets/Segmentation/default.txt", "\n".join(Path(name).stem for name in masks) + "\n")
        for name, mask_HW in masks.items():
            file.writestr(f"SegmentationClass/{Path(name).stem}.png", png(coloured(mask_HW, table)))
            file.writestr(f"SegmentationObject/{Path(name).stem}.png", png(coloured(mask_HW, table)))
        for name, content in images.items():
            file.writestr(f"JPEGImages/{name}", content)


def cvat_xml(masks: Mapping[str, Mask], classes: Sequence[str], *, extra: str = "") -> str:
    """Return `CVAT for images 1.1` with a mask for each class that an image shows; `extra` goes into each image."""
    labels = "".join(
        f"<label><name>{name}</name><color>#{id_:02x}80ff</color></label>" for id_, name in enumerate(classes)
    )
    images = []
    for number, (name, mask_HW) in enumerate(masks.items()):
        height, width = mask_HW.shape
        shapes = []
        for id_ in np.unique(mask_HW[mask_HW < len(classes)]).tolist():
            rows, columns = np.nonzero(mask_HW == id_)
            left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            counts = run_lengths((mask_HW == id_)[top:bottom, left:right])
            where = f'left="{left}" top="{top}" width="{right - left}" height="{bottom - top}" z_order="0"'
            shapes.append(f'<mask label={quoteattr(classes[id_])} rle="{", ".join(map(str, counts))}" {where}></mask>')
        size = f'width="{width}" height="{height}"'
        images.append(f'<image id="{number}" name={quoteattr(name)} {size}>{"".join(shapes)}{extra}</image>')
    head = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{head}{"".join(images)}</annotations>'


def brush(inside: NDArray[np.bool_]) -> list[int]:
    """Return brush strokes as Label Studio packs them (rle-pack), some runs literal, some repeated."""
    values = np.repeat(inside.ravel().astype(np.uint8) * 255, 4)
    bits = f"{values.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    place = 0
    while place < values.size:
        same = 1
        while place + same < values.size and same < 65536 and values[place + same] == values[place]:
            same += 1
        if same > 8:
            which, size = next((n, s) for n, s in enumerate((3, 4, 8, 16)) if same <= 1 << s)
            bits += f"1{which:02b}{same - 1:0{size}b}{values[place]:08b}"
        else:
            bits += f"0{0:02b}{same - 1:03b}" + f"{values[place]:08b}" * same
        place += same
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def label_studio(masks: Mapping[str, Mask], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return tasks with brush strokes, of images that were uploaded."""
    tasks = []
    for number, (name, mask_HW) in enumerate(masks.items()):
        height, width = mask_HW.shape
        results = [
            {
                "type": "brushlabels",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {"format": "rle", "rle": brush(mask_HW == id_), "brushlabels": [classes[id_]]},
            }
            for id_ in np.unique(mask_HW[mask_HW < len(classes)]).tolist()
        ]
        data = {"image": f"/data/upload/1/{number:08x}-{name}"}
        tasks.append({"id": number, "data": data, "annotations": [{"was_cancelled": False, "result": results}]})
    return tasks


def labelme(name: str, mask_HW: Mask, classes: Sequence[str], image: bytes | None = None) -> dict[str, Any]:
    """Return one file of Labelme with a mask for each class, and perhaps the image itself."""
    shapes = []
    for id_ in np.unique(mask_HW[mask_HW < len(classes)]).tolist():
        rows, columns = np.nonzero(mask_HW == id_)
        left, top, right, bottom = int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())
        inside = (mask_HW == id_)[top : bottom + 1, left : right + 1]
        text = base64.b64encode(png(inside.astype(np.uint8) * 255)).decode()
        shapes.append(
            {"label": classes[id_], "points": [[left, top], [right, bottom]], "shape_type": "mask", "mask": text}
        )
    height, width = mask_HW.shape
    data = base64.b64encode(image).decode() if image else None
    return {"shapes": shapes, "imagePath": name, "imageData": data, "imageHeight": height, "imageWidth": width}


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
