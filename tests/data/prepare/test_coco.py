from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semiseg.data.prepare import Count, prepare
from semiseg.errors import DataError

Mask = NDArray[np.uint8]
Save = Callable[[Path, Mask], None]
MasksIn = Callable[[Path], dict[str, Mask]]
Coco = Callable[..., Path]

# pycocotools 2.0.11 is behind NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def coco(tmp_path: Path, save: Save) -> Coco:
    """Return `coco(train=..., val=...)`: a release of images of 12 x 8, numbered from 1, with these annotations."""

    def release(**parts: list[list[dict[str, Any]]]) -> Path:
        raw = tmp_path / "raw"
        (raw / "annotations").mkdir(parents=True, exist_ok=True)
        first = 1
        for part, images in parts.items():
            numbers = range(first, first + len(images))
            first = numbers.stop
            described = [{"id": n, "file_name": f"{n:012}.jpg", "height": 8, "width": 12} for n in numbers]
            found = [{"image_id": n, **item} for n, items in zip(numbers, images, strict=True) for item in items]
            content = {"images": described, "annotations": found, "categories": [{"id": 1, "name": "person"}]}
            (raw / f"annotations/instances_{part}2017.json").write_text(json.dumps(content))
            for image in described:
                save(raw / f"{part}2017/{image['file_name']}", np.zeros((8, 12, 3), dtype=np.uint8))
        return raw

    return release


def box(left: int, top: int, right: int, bottom: int) -> list[float]:
    """The polygon around the pixels [top:bottom, left:right]."""
    return [left, top, right, top, right, bottom, left, bottom]


def polygons(category: int, *boxes: tuple[int, int, int, int]) -> dict[str, Any]:
    return {"category_id": category, "iscrowd": 0, "segmentation": [box(*corners) for corners in boxes]}


def runs(category: int, region_HW: Mask, *, compressed: bool = False) -> dict[str, Any]:
    """A crowd region by run lengths, down the columns, beginning with zeros; compressed as the publisher's tools do."""
    height, width = region_HW.shape
    pixels = region_HW.ravel(order="F")
    starts = [0, *(np.flatnonzero(np.diff(pixels)) + 1).tolist(), pixels.size]
    counts = ([0] if pixels[0] else []) + np.diff(starts).tolist()
    coded: list[int] | str = counts
    if compressed:
        from pycocotools import mask

        coded = mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"].decode()
    return {"category_id": category, "iscrowd": 1, "segmentation": {"size": [height, width], "counts": coded}}


def region(rows: slice, columns: slice) -> Mask:
    region_HW = np.zeros((8, 12), dtype=np.uint8)
    region_HW[rows, columns] = 1
    return region_HW


def test_polygons_runs_crowds_and_images_without_annotations(coco: Coco, tmp_path: Path, masks_in: MasksIn) -> None:
    everywhere = region(slice(None), slice(None))
    raw = coco(
        train=[
            [polygons(1, (1, 2, 4, 6), (6, 0, 9, 3)), polygons(90, (10, 6, 12, 8))],
            [runs(13, region(slice(2, 7), slice(0, 5))), runs(27, region(slice(0, 2), slice(3, 12)), compressed=True)],
            [],
        ],
        val=[[runs(3, everywhere)]],
    )
    out = tmp_path / "out"
    done = prepare("coco", raw, out, workers=0)
    made = masks_in(out / "masks")

    first_HW = np.zeros((8, 12), dtype=np.uint8)
    first_HW[2:6, 1:4] = first_HW[0:3, 6:9] = 1
    first_HW[6:, 10:] = 80
    second_HW = np.zeros((8, 12), dtype=np.uint8)
    second_HW[2:7, :5] = 12  # category 12 does not exist: 13 is class 12
    second_HW[:2, 3:] = 25  # nor does 26
    assert list(made) == [f"{number:012}.png" for number in (1, 2, 3, 4)]
    assert np.array_equal(made["000000000001.png"], first_HW)
    assert np.array_equal(made["000000000002.png"], second_HW)
    assert not made["000000000003.png"].any()
    assert (made["000000000004.png"] == 3).all()
    assert done.counts == {"train": Count(3, 118_287), "val": Count(1, 5_000)}
    assert (out / "train2017/000000000001.jpg").is_file()
    assert (out / "val2017/000000000004.jpg").is_file()


def test_a_pixel_keeps_the_first_class_it_is_given(coco: Coco, tmp_path: Path, masks_in: MasksIn) -> None:
    crowd = runs(2, region(slice(0, 8), slice(0, 8)))
    raw = coco(train=[[polygons(1, (0, 0, 5, 4)), polygons(5, (3, 2, 10, 6)), crowd]])
    prepare("coco", raw, tmp_path / "out", workers=0)
    expected_HW = np.zeros((8, 12), dtype=np.uint8)
    expected_HW[:, :8] = 2
    expected_HW[2:6, 3:10] = 5
    expected_HW[:4, :5] = 1
    assert np.array_equal(masks_in(tmp_path / "out/masks")["000000000001.png"], expected_HW)


def test_the_classes_are_the_80_categories_in_ascending_order(coco: Coco, tmp_path: Path, masks_in: MasksIn) -> None:
    missing = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    categories = [number for number in range(1, 91) if number not in missing]
    pixels = [(place % 12, place // 12, place % 12 + 1, place // 12 + 1) for place in range(80)]
    found = [polygons(number, place) for number, place in zip(reversed(categories), pixels, strict=True)]
    prepare("coco", coco(train=[found]), tmp_path / "out", workers=0)
    [mask_HW] = masks_in(tmp_path / "out/masks").values()
    assert mask_HW.ravel().tolist() == [*range(80, 0, -1), *[0] * 16]


def test_extra_images_are_linked_and_counted(coco: Coco, tmp_path: Path, save: Save) -> None:
    raw = coco(train=[[]])
    save(raw / "unlabeled2017/000000000008.jpg", np.zeros((8, 12, 3), dtype=np.uint8))
    done = prepare("coco", raw, tmp_path / "out", workers=0)
    assert done.counts["unlabeled2017"] == Count(1, 123_403, "images")
    assert (tmp_path / "out/unlabeled2017/000000000008.jpg").is_file()
    assert not (tmp_path / "out/val2017").exists()


@pytest.mark.parametrize("name", ["../000000000001.jpg", "a/b.jpg", "/etc/passwd", "..", ".hidden.jpg", "a\\b.jpg", ""])
def test_a_file_name_does_not_lead_out_of_the_folder(coco: Coco, tmp_path: Path, masks_in: MasksIn, name: str) -> None:
    raw = coco(train=[[]], val=[[]])
    path = raw / "annotations/instances_train2017.json"
    path.write_text(path.read_text().replace('"000000000001.jpg"', json.dumps(name)))
    with pytest.raises(DataError, match=r"instances_train2017.json: .* is not the name of a file"):
        prepare("coco", raw, tmp_path / "out", workers=0)
    assert list(masks_in(tmp_path / "out/masks")) == ["000000000002.png"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"annotations"', '"notes"'),
        ('"height": 8', '"height": 0'),
        ('"height": 8', '"height": 800000000'),
        ('"category_id": 1', '"category_id": 12'),
        ('"images": [', '"images": ['[:-1]),
    ],
)
def test_a_damaged_instance_file_is_named_and_the_other_one_used(
    coco: Coco, tmp_path: Path, masks_in: MasksIn, old: str, new: str
) -> None:
    raw = coco(train=[[polygons(1, (0, 0, 4, 4))]], val=[[]])
    path = raw / "annotations/instances_train2017.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=r"instances_train2017.json: unreadable instance file"):
        prepare("coco", raw, tmp_path / "out", workers=0)
    assert list(masks_in(tmp_path / "out/masks")) == ["000000000002.png"]


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        None,
        {"size": [8, 12]},
        {"size": [12, 8], "counts": [96]},
        {"size": [800_000, 800_000], "counts": [5]},
        {"size": [8, 12], "counts": [4, 1000]},
        {"size": [8, 12], "counts": "not runs"},
    ],
)
def test_an_unusable_region_names_its_image(coco: Coco, tmp_path: Path, masks_in: MasksIn, segmentation: Any) -> None:
    raw = coco(train=[[{"category_id": 1, "segmentation": segmentation}], []])
    with pytest.raises(DataError, match=r"unusable region in 000000000001.jpg"):
        prepare("coco", raw, tmp_path / "out", workers=0)
    assert list(masks_in(tmp_path / "out/masks")) == ["000000000002.png"]


def test_without_pycocotools_nothing_is_begun(coco: Coco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = coco(train=[[]])
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(DataError, match=r"pycocotools is not installed[\s\S]*semiseg\[prepare\]"):
        prepare("coco", raw, tmp_path / "out", workers=0)
