"""Masks in colours are read as they are, where dataset.yaml gives the colours of the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.data import DataConfig, check_dataset, load_dataset
from semiseg.data.spec import DatasetSpec, read_class_ids, read_spec
from semiseg.errors import DataError

PALETTE = [(120, 90, 60), (60, 160, 60), (200, 60, 60)]
YAML = "classes: [soil, crop, weed]\npalette: [[120, 90, 60], [60, 160, 60], [200, 60, 60]]\n"
IDS = np.array([[0, 1, 2, 255], [2, 1, 0, 255]], dtype=np.uint8)


@pytest.fixture
def spec(tmp_path: Path) -> DatasetSpec:
    (tmp_path / "dataset.yaml").write_text(YAML + "ignore_colour: [0, 0, 0]\n")
    return read_spec(tmp_path / "dataset.yaml")


def in_colour(ids: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), dtype=np.uint8)
    table[:3] = PALETTE
    return table[ids]


def indexed(order: list[int], colours: list[tuple[int, int, int]], path: Path) -> None:
    """Save the mask as indices that a program has numbered in an order of its own."""
    image = Image.fromarray(np.select([id_ == IDS for id_ in (0, 1, 2, 255)], order).astype(np.uint8))
    image.putpalette([level for colour in colours for level in colour])
    image.save(path)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "clear", "P"])
def test_masks_in_colours_are_read_by_their_colours(tmp_path: Path, spec: DatasetSpec, kind: str) -> None:
    path = tmp_path / "m.png"
    if kind == "P":
        indexed([2, 0, 1, 3], [PALETTE[1], PALETTE[2], PALETTE[0], (0, 0, 0)], path)
    else:
        pixels = np.dstack([in_colour(IDS), np.full(IDS.shape, 255, dtype=np.uint8)])
        if kind == "clear":
            pixels[IDS == 255] = (9, 9, 9, 0)
        Image.fromarray(pixels[..., :3] if kind == "RGB" else pixels).save(path)
    np.testing.assert_array_equal(read_class_ids(path, spec), IDS)


def test_ids_without_colours_stay_ids(tmp_path: Path, spec: DatasetSpec) -> None:
    Image.fromarray(IDS).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_class_ids(tmp_path / "m.png", spec), IDS)


def test_the_ignore_value_of_a_palette_may_have_a_colour_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text(YAML)
    image = Image.fromarray(IDS)
    image.putpalette([level for colour in PALETTE for level in colour] + [224, 224, 192] * 253)
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_class_ids(tmp_path / "m.png", read_spec(tmp_path / "dataset.yaml")), IDS)


@pytest.mark.parametrize("kind", ["RGB", "P"])
def test_a_colour_of_no_class_is_named_with_its_pixels_and_the_closest_class(
    tmp_path: Path, spec: DatasetSpec, kind: str
) -> None:
    path = tmp_path / "m.png"
    if kind == "P":
        indexed([0, 1, 2, 3], [*PALETTE[:2], (201, 60, 61), (0, 0, 0)], path)
    else:
        pixels = in_colour(IDS)
        pixels[IDS == 2] = (201, 60, 61)
        Image.fromarray(pixels).save(path)
    words = (
        r"(?s)\(201, 60, 61\) on 2 pixels, closest is 'weed' \(200, 60, 60\).*m\.png.*ignore_colour.*leave `palette`"
    )
    with pytest.raises(DataError, match=words):
        read_class_ids(path, spec)


@pytest.mark.parametrize("more", ["", "mask_values: {0: 0, 9: 1}\npalette: [[1, 1, 1], [2, 2, 2], [3, 3, 3]]\n"])
def test_without_colours_of_classes_masks_in_colours_are_refused_as_ever(tmp_path: Path, more: str) -> None:
    (tmp_path / "dataset.yaml").write_text("classes: [soil, crop, weed]\n" + more)
    Image.fromarray(in_colour(IDS)).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"(?s)mask with RGB pixels.*`palette` in dataset\.yaml"):
        read_class_ids(tmp_path / "m.png", read_spec(tmp_path / "dataset.yaml"))


def test_a_jpeg_in_colours_is_refused(tmp_path: Path, spec: DatasetSpec) -> None:
    Image.fromarray(in_colour(IDS)).save(tmp_path / "m.tif", compression="jpeg")
    with pytest.raises(DataError, match="JPEG compression"):
        read_class_ids(tmp_path / "m.tif", spec)


@pytest.mark.parametrize("value", ["[1, 2]", "[60, 160, 60]", "red", "[0, 0, 256]"])
def test_a_colour_to_ignore_is_no_other_thing_and_no_class(tmp_path: Path, value: str) -> None:
    (tmp_path / "dataset.yaml").write_text(f"{YAML}ignore_colour: {value}\n")
    with pytest.raises(DataError, match="ignore_colour is"):
        read_spec(tmp_path / "dataset.yaml")


def test_palettes_that_differ_train_where_the_classes_have_colours(tmp_path: Path) -> None:
    for name, order in (("a", [0, 1, 2, 3]), ("b", [3, 2, 1, 0])):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(in_colour(IDS)).save(tmp_path / f"images/{name}.png")
        colours = [*PALETTE, (0, 0, 0)]
        indexed(order, [colours[order.index(place)] for place in range(4)], tmp_path / f"masks/{name}.png")
    (tmp_path / "dataset.yaml").write_text(YAML + "ignore_colour: [0, 0, 0]\n")
    dataset = load_dataset(DataConfig(root=str(tmp_path), held_out=0.0))
    found = check_dataset(dataset, 1_000_000, unlabeled=False)
    assert found.pixels["labeled"] == {0: 4, 1: 4, 2: 4, 255: 4}
    (tmp_path / "dataset.yaml").write_text("classes: [soil, crop, weed, other]\n")
    dataset = load_dataset(DataConfig(root=str(tmp_path), held_out=0.0))
    with pytest.raises(DataError, match=r"(?s)one palette in all masks.*give the colours of the classes as `palette`"):
        check_dataset(dataset, 1_000_000, unlabeled=False)
