from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from semiseg.data.palette import default_palette
from semiseg.data.spec import SCORE_NAMES, DatasetSpec, read_class_ids, read_spec, shipped_specs
from semiseg.data.yaml_file import read_yaml
from semiseg.errors import DataError


def write(folder: Path, text: str) -> Path:
    path = folder / "dataset.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_class_names_alone_are_enough(tmp_path: Path) -> None:
    (tmp_path / "fields").mkdir()
    spec = read_spec(write(tmp_path / "fields", "classes: [soil, wheat, maize]"))
    assert spec == DatasetSpec(name="fields", classes=("soil", "wheat", "maize"), palette=default_palette(3))
    assert spec.num_classes == 3
    assert (spec.ignore_value, spec.protocol, spec.lists) == (255, "original", {})
    assert (spec.frames, spec.masks, spec.mask_values) == (("images",), "masks", None)
    assert spec.definitions == {"soil": ("soil",), "wheat": ("wheat",), "maize": ("maize",)}


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
name: Roads
classes: [no, 'on', 2]
ignore_value: 0
palette: [[0, 0, 0], [255, 128, 1], [3, 4, 5]]
protocol: sliding
lists: {labeled: a.txt, unlabeled: b.txt, val: c.txt}
frames: [./photos/, later]
masks: drawn/by hand
mask_values: {0: 0, 7: 2, 128: 1}
concepts: {'on': [road, motorway]}
"""
    spec = read_spec(write(tmp_path, text))
    assert spec.name == "Roads"
    assert spec.classes == ("no", "on", "2")  # YAML 1.1 would make False of the first
    assert spec.palette == ((0, 0, 0), (255, 128, 1), (3, 4, 5))
    assert (spec.ignore_value, spec.protocol) == (0, "sliding")
    assert spec.lists == {"labeled": "a.txt", "unlabeled": "b.txt", "val": "c.txt"}
    assert (spec.frames, spec.masks) == (("photos", "later"), "drawn/by hand")
    assert spec.mask_values == {0: 0, 7: 2, 128: 1}
    assert list(spec.definitions.items()) == [("no", ("no",)), ("on", ("road", "motorway")), ("2", ("2",))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("classses: [a, b]", "unknown key 'classses'; did you mean 'classes'"),
        ("name: x", "classes is not a list"),
        ("classes: sky", "classes is not a list"),
        ("classes: [sky]", "2 to 255"),
        (f"classes: [{', '.join(f'c{index}' for index in range(256))}]", "2 to 255"),
        ("classes: {0: sky, 1: road}", "classes is not a list"),
        ("classes: [sky, [road]]", "classes is not a list"),
        ("classes: [sky, null]", "classes is not a list"),
        ("classes: [sky, sky]", "different"),
        (r'classes: [sky, "a\nb"]', "printable"),
        ("classes: [a, b]\nignore_value: 256", "ignore_value is '256'"),
        ("classes: [a, b]\nignore_value: -1", "ignore_value is '-1'"),
        ("classes: [a, b]\nignore_value: none", "ignore_value is 'none'"),
        ("classes: [a, b]\nprotocol: slide", "protocol is 'slide'"),
        ("classes: [a, b]\npalette: [[1, 2, 3]]", "2 lists of three numbers"),
        ("classes: [a, b]\npalette: [[1, 2, 3], [1, 2]]", "2 lists of three numbers"),
        ("classes: [a, b]\npalette: [[1, 2, 3], [1, 2, 256]]", "2 lists of three numbers"),
        ("classes: [a, b]\npalette: [[1, 2, 3], [1, 2, 3, x]]", "2 lists of three numbers"),
        ("classes: [a, b]\npalette: red", "2 lists of three numbers"),
        ("classes: [a, b]\nlists: all.txt", "lists is not a mapping of labeled, unlabeled, val"),
        ("classes: [a, b]\nlists: {train: a.txt}", "lists is not a mapping of labeled, unlabeled, val"),
        ("classes: [a, b]\nlists: {val: [a.txt]}", "lists is not a mapping of labeled, unlabeled, val"),
        ("classes: [car, b]\nconcepts: {cat: [van]}", "concepts of 'cat', which is no class; did you mean 'car'"),
        ("classes: [a, b]\nconcepts: {a: van}", "concepts does not describe classes"),
        ("classes: [a, b]\nconcepts: {a: []}", "concepts does not describe classes"),
        ("classes: [a, b]\nconcepts: {a: [van, van]}", "concepts does not describe classes"),
        ("classes: [a, b]\nconcepts: {a: [van, ' ']}", "concepts does not describe classes"),
        ("classes: [a, b]\nconcepts: [van, cat]", "concepts does not describe classes"),
        ("classes: [a, b]\nframes: [../photos]", "frames is '../photos'"),
        ("classes: [a, b]\nframes: photos", "frames is 'photos'"),
        ("classes: [a, b]\nframes: []", "frames is []"),
        ("classes: [a, b]\nframes: [A, A]", "frames is ['A', 'A']"),
        ("classes: [a, b]\nframes: [A, B, C]", "frames is ['A', 'B', 'C']"),
        ("classes: [a, b]\nmask_values: {0: 0, 255: 2}", "mask_values is {'0': '0', '255': '2'}"),
        ("classes: [a, b]\nmask_values: {0: 0, 256: 1}", "mask_values is"),
        ("classes: [a, b]\nmask_values: {0: 0, 1: b}", "mask_values is"),
        ("classes: [a, b]\nmask_values: {}", "mask_values is"),
        ("classes: [a, b]\nmask_values: [0, 1]", "mask_values is"),
        ("classes: [a, b]\nmasks: /data/masks", "masks is '/data/masks'"),
        ("classes: [a, b]\nmasks: [a, b]", "masks is ['a', 'b']"),
        ("- a\n- b", "not a YAML mapping"),
        ("", "not a YAML mapping"),
        ("classes: [a, b", "unreadable YAML"),
    ],
)
def test_a_wrong_dataset_yaml_is_named_with_a_remedy(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError) as raised:
        read_spec(path)
    message = str(raised.value)
    assert says in message
    assert str(path) in message
    assert "remedy:" in message


@pytest.mark.parametrize("name", sorted(shipped_specs()))
def test_every_shipped_spec_reads_with_a_colour_a_class(name: str) -> None:
    spec = read_spec(shipped_specs()[name])
    assert spec.name == name
    assert set(spec.values if spec.mask_values is None else spec.mask_values.values()) >= {*range(spec.num_classes)}
    # ADE20K publishes one colour for road and skyscraper.
    assert len(set(spec.palette)) == spec.num_classes - (name == "ade20k")
    assert spec.ignore_value >= spec.num_classes


@pytest.mark.parametrize(
    ("name", "count", "protocol", "known"),
    [
        ("pascal", 21, "original", {0: "background", 1: "aeroplane", 15: "person", 20: "tvmonitor"}),
        ("cityscapes", 19, "sliding", {0: "road", 10: "sky", 11: "person", 13: "car", 18: "bicycle"}),
        ("ade20k", 150, "original", {0: "wall", 2: "sky", 12: "person", 20: "car", 149: "flag"}),
        ("coco", 81, "original", {0: "background", 1: "person", 12: "stop sign", 18: "horse", 80: "toothbrush"}),
    ],
)
def test_classes_are_those_of_the_published_masks(name: str, count: int, protocol: str, known: dict[int, str]) -> None:
    spec = read_spec(shipped_specs()[name])
    assert (spec.num_classes, spec.protocol) == (count, protocol)
    assert {index: spec.classes[index] for index in known} == known


@pytest.mark.parametrize(("name", "count", "most"), [("pascal", 98, 45), ("cityscapes", 54, 7), ("coco", 81, 1)])
def test_class_definitions_are_as_many_as_published(name: str, count: int, most: int) -> None:
    """SemiVL's files of text embeddings have so many rows."""
    sizes = [len(concepts) for concepts in read_spec(shipped_specs()[name]).definitions.values()]
    assert (sum(sizes), max(sizes)) == (count, most)


@pytest.mark.parametrize("name", ["levir", "whu"])
def test_data_sets_of_pairs_are_laid_out_as_published(name: str) -> None:
    spec = read_spec(shipped_specs()[name])
    assert (spec.classes, spec.frames, spec.masks) == (("unchanged", "changed"), ("A", "B"), "label")
    assert (spec.mask_values, spec.protocol) == ({0: 0, 255: 1}, "original")


def test_a_model_is_judged_by_the_changed_class_where_there_is_one() -> None:
    pairs = DatasetSpec(name="x", classes=("a", "b"), frames=("A", "B"))
    assert pairs.score == "changed_iou"
    assert replace(pairs, frames=("A",)).score == replace(pairs, classes=("a", "b", "c")).score == "miou"
    assert set(SCORE_NAMES) == {"miou", "changed_iou"}


def test_the_values_of_a_mask_become_class_ids(tmp_path: Path) -> None:
    spec = DatasetSpec(name="x", classes=("a", "b"), mask_values={0: 0, 128: 255, 255: 1})
    assert spec.values == (0, 128, 255)
    values_HW = np.array([[0, 255, 128], [255, 255, 0]], dtype=np.uint8)
    Image.fromarray(values_HW).save(tmp_path / "m.png")
    ids_HW = read_class_ids(tmp_path / "m.png", spec)
    assert ids_HW.dtype == np.uint8
    np.testing.assert_array_equal(ids_HW, [[0, 1, 255], [1, 1, 0]])
    plain = replace(spec, mask_values=None)
    assert plain.values == (0, 1, 255)
    np.testing.assert_array_equal(plain.class_ids(values_HW), values_HW)
    with pytest.raises(DataError, match=r"(?s)mask values \[128\] are no class.*m\.png.*0 to 1, or 255 to ignore"):
        read_class_ids(tmp_path / "m.png", plain)
    with pytest.raises(DataError, match="at most 5 pixels"):
        read_class_ids(tmp_path / "m.png", spec, 5)


def test_the_palette_of_pascal_follows_its_rule() -> None:
    # The VOC development kit: the bits of the class id, three at a time, become the high bits of red, green and blue.
    def colour(index: int) -> tuple[int, ...]:
        return tuple(
            sum(((index >> (3 * place + channel)) & 1) << (7 - place) for place in range(3)) for channel in range(3)
        )

    assert read_spec(shipped_specs()["pascal"]).palette == tuple(colour(index) for index in range(21))


def test_what_two_data_sets_draw_alike_keeps_its_colour() -> None:
    # The panoptic palette of COCO took the colours of vehicles and people over from Cityscapes.
    cityscapes, coco = (read_spec(shipped_specs()[name]) for name in ("cityscapes", "coco"))
    colours = dict(zip(cityscapes.classes, cityscapes.palette, strict=True))
    for name in ("person", "bicycle", "car", "motorcycle", "bus", "train", "truck", "traffic light"):
        assert coco.palette[coco.classes.index(name)] == colours[name]
    assert colours["road"] == (128, 64, 128)
    assert coco.palette[0] == (0, 0, 0)


def test_a_plain_word_stays_the_text_it_is(tmp_path: Path) -> None:
    text = "split: 1_8\nlr: 1e-3\ntime: 1:30\nday: 2026-01-01\nflag: no\nnumber: 010\nempty:\nnothing: null\nname: R&D"
    assert read_yaml(write(tmp_path, text), DataError) == {
        "split": "1_8",
        "lr": "1e-3",
        "time": "1:30",
        "day": "2026-01-01",
        "flag": "no",
        "number": "010",
        "empty": None,
        "nothing": None,
        "name": "R&D",
    }


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    for name in ("missing.yaml", "binary.yaml"):
        with pytest.raises(DataError, match=f"(?s)unreadable YAML.*{name}"):
            read_yaml(tmp_path / name, DataError)


def outcome(path: Path) -> tuple[DatasetSpec | None, str]:
    try:
        return read_spec(path), ""
    except DataError as error:
        return None, str(error)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("classes: []{}-,&*!|>'\"%@\n\t#abc0123_.?~"), max_size=60))
def test_any_text_gives_a_spec_or_a_data_error(tmp_path: Path, text: str) -> None:
    for prefix in ("", "classes: [a, b]\n"):
        path = write(tmp_path, prefix + text)
        spec, message = outcome(path)
        assert spec.num_classes >= 2 if spec else str(path) in message
