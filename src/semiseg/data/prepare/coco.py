"""COCO 2017 in 81 classes, background and 80 things: 118,287 training masks and 5,000 for validation.

How the published masks were painted where instances overlap, and whether with crowd regions, is not documented. Here
annotations are painted in the order of the file, a pixel keeps the first class it is given, and crowd regions are
painted like single things, so that a crowd listed after its single things hides none of them. The widely copied COCO
reader of pytorch-deeplab-xception does the same. Where things overlap, masks may differ from the published ones.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.data.extras import require_library
from semiseg.data.prepare.making import Count, Fault, Job, Plan, file_name
from semiseg.data.reading import MAX_PIXELS
from semiseg.data.regions import coco_region
from semiseg.errors import DataError

CATEGORIES = tuple(sorted({*range(1, 91)} - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}))
"""The ids of the 80 things; the first is class 1, the last class 80."""

_CLASS_OF = {category: number for number, category in enumerate(CATEGORIES, start=1)}


def plan(raw: Path, out: Path) -> Plan:
    """Plan `out/masks/000000000139.png` and the links `out/train2017`, `out/val2017` and perhaps `out/unlabeled2017`.

    Both JSON files are held in memory (about 3 GB for the release). An image without annotations is all background.

    Raises:
        DataError: pycocotools is not installed.
    """
    require_library("pycocotools")
    jobs: dict[Path, Job] = {}
    faults: list[Fault] = []
    found = [(part, raw / f"annotations/instances_{part}2017.json") for part in ("train", "val")]
    for part, path in found:
        try:
            jobs |= {job.files[0]: job for job in (_jobs(part, path, out / "masks") if path.exists() else [])}
        except DataError as error:
            faults.append((path, str(error).splitlines()[0]))
    extra = raw / "unlabeled2017"
    folders = [f"{part}2017" for part, path in found if path.exists()] + ([extra.name] if extra.is_dir() else [])
    return Plan(
        classes=81,
        expected="annotations/instances_{train,val}2017.json, train2017/*.jpg and val2017/*.jpg",
        jobs=tuple(jobs.values()),
        links={out / folder: raw / folder for folder in folders},
        published={"train": 118_287, "val": 5_000},
        others={extra.name: Count(len([*extra.glob("*.jpg")]), 123_403, "images")} if extra.is_dir() else {},
        faults=tuple(faults),
    )


def _jobs(part: str, path: Path, masks: Path) -> list[Job]:
    """Plan a mask for each image of an instance file."""
    try:
        content = json.loads(path.read_bytes())
        instances = defaultdict(list)
        for item in content["annotations"]:
            instances[item["image_id"]].append((_CLASS_OF[item["category_id"]], item["segmentation"]))
        return [
            Job.of_mask(
                part,
                path,
                masks / f"{Path(file_name(image['file_name'], path)).stem}.png",
                partial(paint, image["file_name"], _size(image), instances[image["id"]]),
            )
            for image in content["images"]
        ]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(
            f"unreadable instance file ({type(error).__name__}: {error})",
            where=path,
            expected="images, and annotations of the 80 categories of COCO",
            remedy="unpack annotations_trainval2017.zip again",
        ) from error


def _size(image: dict[str, Any]) -> tuple[int, int]:
    height, width = int(image["height"]), int(image["width"])
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        raise ValueError(f"an image of {width} x {height} pixels")
    return height, width


def paint(name: str, size: tuple[int, int], instances: list[tuple[int, Any]]) -> NDArray[np.uint8]:
    """Paint instances over background, first come first kept.

    Args:
        name: the image's name, for errors.
        size: height and width.
        instances: class and segmentation (see `coco_region`) of each, in the order of the file.

    Returns:
        Classes, (H, W) uint8.

    Raises:
        DataError: a region cannot be decoded, or has another size.
    """
    mask_HW = np.zeros(size, dtype=np.uint8)
    for class_id, segmentation in instances:
        try:
            region_HW = coco_region(segmentation, *size)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"unusable region in {name} ({error})", remedy="unpack annotations_trainval2017.zip again"
            ) from error
        mask_HW[region_HW & (mask_HW == 0)] = class_id
    return mask_HW
