"""What annotation tools export becomes the masks that were drawn, to the pixel, or is refused or explained by name."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import (
    Mask,
    coco,
    coloured,
    cvat_masks,
    cvat_xml,
    label_studio,
    labelme,
    png,
    write_json,
)
from PIL import Image

from semiseg.cli import main
from semiseg.data import DataConfig, check_dataset, load_dataset
from semiseg.data.imports import FORMATS, Imported, import_data
from semiseg.data.spec import read_class_ids, read_spec
from semiseg.errors import DataError

# pycocotools 2.0.11 is behind NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CLASSES = ("soil", "crop", "weed")
COLOURS = {"soil": (120, 90, 60), "crop": (60, 160, 60), "weed": (200, 60, 60)}
HEIGHT, WIDTH = 12, 17
NAMES = ("a.png", "b.png", "c.png")


def drawn() -> dict[str, Mask]:
    """Return masks of three classes and, here and there, 255."""
    rng = np.random.default_rng(3)
    ids = rng.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (len(NAMES), HEIGHT // 3, WIDTH), p=[0.4, 0.3, 0.2, 0.1])
    return {name: mask_HW.repeat(3, 0) for name, mask_HW in zip(NAMES, ids, strict=True)}


MASKS = drawn()


def picture(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with the three images and one that nobody has drawn on."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate((*NAMES, "d.png")):
        (folder / name).write_bytes(picture(number))
    return folder


def masks_of(made: Imported) -> dict[str, Mask]:
    spec = read_spec(made.folder / "dataset.yaml")
    return {
        f"{path.relative_to(made.folder / 'masks').with_suffix('.png')}": read_class_ids(path, spec)
        for path in sorted((made.folder / "masks").rglob("*.png"))
    }


def assert_same(made: Imported, wanted: dict[str, Mask]) -> None:
    found = masks_of(made)
    assert found.keys() == wanted.keys()
    for name, mask_HW in wanted.items():
        np.testing.assert_array_equal(found[name], mask_HW)


def write_coco(tmp_path: Path, photos: Path) -> Path:
    return write_json(tmp_path / "export/instances.json", coco(MASKS, CLASSES))


def write_coco_packed(tmp_path: Path, photos: Path) -> Path:
    return write_json(tmp_path / "export/instances.json", coco(MASKS, CLASSES, packed=True))


def write_cvat_zip(tmp_path: Path, photos: Path) -> Path:
    cvat_masks(tmp_path / "task.zip", MASKS, COLOURS, {path.name: path.read_bytes() for path in photos.iterdir()})
    return tmp_path / "task.zip"


def write_cvat_xml(tmp_path: Path, photos: Path) -> Path:
    (tmp_path / "annotations.xml").write_text(cvat_xml(MASKS, CLASSES))
    return tmp_path / "annotations.xml"


def write_label_studio(tmp_path: Path, photos: Path) -> Path:
    return write_json(tmp_path / "project.json", label_studio(MASKS, CLASSES))


def write_labelme(tmp_path: Path, photos: Path) -> Path:
    for name, mask_HW in MASKS.items():
        write_json(tmp_path / "labelme" / f"{Path(name).stem}.json", labelme(f"..\\photos\\{name}", mask_HW, CLASSES))
    return tmp_path / "labelme"


def write_colours(tmp_path: Path, photos: Path) -> Path:
    root = tmp_path / "colours"
    (root / "masks").mkdir(parents=True)
    table = dict(enumerate(COLOURS.values())) | {255: (0, 0, 0)}
    for name, mask_HW in MASKS.items():
        Image.fromarray(coloured(mask_HW, table)).save(root / "masks" / name)
    palette = [list(colour) for colour in COLOURS.values()]
    (root / "dataset.yaml").write_text(
        f"classes: [{', '.join(CLASSES)}]\npalette: {palette}\nignore_colour: [0, 0, 0]\n"
    )
    return root


WRITERS: dict[str, Callable[[Path, Path], Path]] = {
    "coco": write_coco,
    "coco packed": write_coco_packed,
    "cvat masks": write_cvat_zip,
    "cvat": write_cvat_xml,
    "labelstudio": write_label_studio,
    "labelme": write_labelme,
    "masks": write_colours,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_an_export_becomes_the_masks_that_were_drawn(tmp_path: Path, photos: Path, kind: str) -> None:
    source = WRITERS[kind](tmp_path, photos)
    made = import_data(source, tmp_path / "out", images=None if kind == "cvat masks" else photos, rest="ignore")
    order = sorted(CLASSES) if kind in ("labelstudio", "labelme") else list(CLASSES)
    assert list(made.classes) == order
    table = np.arange(256, dtype=np.uint8)
    table[: len(CLASSES)] = [order.index(name) for name in CLASSES]
    assert_same(made, {name: table[mask_HW] for name, mask_HW in MASKS.items()})
    assert (sorted(made.found.labeled), made.found.unlabeled) == (list(NAMES), ["d.png"])
    dataset = load_dataset(DataConfig(root=str(tmp_path / "out"), held_out=0.34))
    assert len(dataset.labeled + dataset.val) == 3
    check_dataset(dataset, 1_000_000, unlabeled=True)


@pytest.mark.parametrize("kind", ["coco", "cvat", "labelstudio", "labelme"])
def test_what_nothing_is_drawn_on_is_background_unless_said_otherwise(tmp_path: Path, photos: Path, kind: str) -> None:
    source = WRITERS[kind](tmp_path, photos)
    made = import_data(source, tmp_path / "out", images=photos)
    order = ["background", *(sorted(CLASSES) if kind in ("labelstudio", "labelme") else CLASSES)]
    assert (list(made.classes), made.rest) == (order, "background")
    table = np.zeros(256, dtype=np.uint8)
    table[: len(CLASSES)] = [order.index(name) for name in CLASSES]
    assert_same(made, {name: table[mask_HW] for name, mask_HW in MASKS.items()})


def polygon_coco(*shapes: dict[str, Any], names: tuple[str, ...] = ("a.png",)) -> dict[str, Any]:
    images = [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(names)]
    annotations = [{"id": n, "image_id": 0, "category_id": 1, **shape} for n, shape in enumerate(shapes)]
    categories = [{"id": 1, "name": "crop"}, {"id": 2, "name": "weed"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def test_polygons_are_filled_and_the_later_covers_the_earlier(tmp_path: Path, photos: Path) -> None:
    shapes = {"segmentation": box(1, 1, 9, 9)}, {"segmentation": box(5, 5, 12, 10), "category_id": 2}
    source = write_json(tmp_path / "x.json", polygon_coco(*shapes))
    made = import_data(source, tmp_path / "out", images=photos)
    wanted = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    wanted[1:9, 1:9] = 1
    wanted[5:10, 5:12] = 2
    assert_same(made, {"a.png": wanted})
    assert made.found.overlapping == {"a.png": 16 / wanted.size}
    assert "overlap in 1 images, on up to 7.8% of their pixels: the later covers the earlier" in made.summary()


@pytest.mark.parametrize("kind", ["cvat", "labelme", "labelstudio", "labelstudio min"])
def test_polygons_of_every_tool_are_those_of_coco(tmp_path: Path, photos: Path, kind: str) -> None:
    corners = [(1, 1), (15, 2), (9, 11)]
    if kind == "cvat":
        points = ";".join(f"{x},{y}" for x, y in corners)
        size = f'width="{WIDTH}" height="{HEIGHT}"'
        tops = (("weed", 1), ("crop", 0))
        below = "".join(f'<polygon label="{label}" points="{points}" z_order="{z}"/>' for label, z in tops)
        labels = "<label><name>crop</name></label><label><name>weed</name></label>"
        text = (
            f'<annotations><meta><job><labels>{labels}</labels></job></meta><image name="a.png" {size}>{below}</image>'
        )
        source = tmp_path / "a.xml"
        source.write_text(f"{text}</annotations>")
    elif kind == "labelme":
        shapes = [{"label": label, "points": corners, "shape_type": "polygon"} for label in ("crop", "weed")]
        source = write_json(tmp_path / "a.json", {"shapes": shapes, "imagePath": "a.png"})
    else:
        percent = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners]
        sizes = {"original_width": WIDTH, "original_height": HEIGHT}
        values = [{"points": percent, "polygonlabels": [label]} for label in ("crop", "weed")]
        results = [{"type": "polygonlabels", "value": value, **sizes} for value in values]
        task = {"data": {"picture": "s3://bucket/x/a.png"}, "annotations": [{"result": results}]}
        short = {"image": "/data/local-files/?d=photos/a.png", "label": [value | sizes for value in values], "id": 1}
        source = write_json(tmp_path / "a.json", [task if kind == "labelstudio" else short])
    segmentation = [[float(value) for corner in corners for value in corner]]
    plain = write_json(tmp_path / "plain.json", polygon_coco({"segmentation": segmentation, "category_id": 2}))
    wanted = masks_of(import_data(plain, tmp_path / "plain", images=photos))
    assert 40 < (wanted["a.png"] == 2).sum() < 80
    assert_same(import_data(source, tmp_path / "out", images=photos), wanted)


def test_an_image_with_nothing_drawn_stays_unlabeled_unless_said_otherwise(tmp_path: Path, photos: Path) -> None:
    source = write_json(tmp_path / "x.json", polygon_coco({"segmentation": box(1, 1, 9, 9)}, names=NAMES))
    made = import_data(source, tmp_path / "out", images=photos)
    assert (made.found.labeled, made.found.empty) == (["a.png"], ["b.png", "c.png"])
    assert "2 of the unlabeled are in the export with nothing drawn in them: b.png, c.png" in made.summary()
    other = import_data(source, tmp_path / "other", images=photos, empty_is_background=True)
    assert (other.found.labeled, other.found.unlabeled) == ([*NAMES], ["d.png"])
    assert masks_of(other)["b.png"].max() == 0
    with pytest.raises(DataError, match=r"(?s)would be ignored.*--rest ignore and --empty-is-background"):
        import_data(source, tmp_path / "third", images=photos, rest="ignore", empty_is_background=True)


def test_boxes_and_other_kinds_leave_an_image_unlabeled_and_are_counted(tmp_path: Path, photos: Path) -> None:
    inner = '<polyline label="crop" points="1,1;2,2"/><points label="crop" points="1,1"/>'
    inner += '<box label="weed" xtl="2" ytl="3" xbr="6" ybr="7"/>'
    (tmp_path / "a.xml").write_text(cvat_xml(MASKS, CLASSES, extra=f'{inner}<tag label="crop"/>'))
    with pytest.raises(
        DataError, match=r"(?s)no image would be labeled: a\.png: no region in 1 box, 1 points, 1 polyline"
    ):
        import_data(tmp_path / "a.xml", tmp_path / "out", images=photos)
    assert not (tmp_path / "out").exists()
    wishes: dict[str, Any] = {"images": photos, "rest": "ignore", "leave_out": ["points", "polyline"]}
    filled = import_data(tmp_path / "a.xml", tmp_path / "filled", boxes="fill", **wishes)
    wanted = {name: mask_HW.copy() for name, mask_HW in MASKS.items()}
    for mask_HW in wanted.values():
        mask_HW[3:7, 2:6] = 2
    assert_same(filled, wanted)
    blurred = import_data(tmp_path / "a.xml", tmp_path / "blurred", boxes="ignore", **wishes)
    assert_same(blurred, MASKS)  # masks are painted over what is ignored


def test_sizes_that_differ_and_missing_images_are_named(tmp_path: Path, photos: Path) -> None:
    (photos / "b.png").write_bytes(picture(1, width=WIDTH + 1))
    (photos / "c.png").unlink()
    source = write_json(tmp_path / "x.json", coco(MASKS, CLASSES))
    made = import_data(source, tmp_path / "out", images=photos)
    assert made.found.labeled == ["a.png"]
    assert made.found.faults == {"b.png": "drawn at 17 x 12 pixels, the image has 18 x 12"}
    assert made.found.missing == ["c.png"]
    assert "1 images of the export are nowhere: c.png" in made.summary()


def test_a_damaged_region_or_image_is_named_and_the_rest_is_made(tmp_path: Path, photos: Path) -> None:
    content = coco(MASKS, CLASSES)
    content["annotations"][0]["segmentation"]["counts"][0] += 1
    (photos / "b.png").write_bytes(b"no image")
    made = import_data(write_json(tmp_path / "x.json", content), tmp_path / "out", images=photos)
    assert made.found.labeled == ["c.png"]
    assert made.found.faults["a.png"] == "run lengths that do not make 17 x 12 pixels"
    assert "unreadable image" in made.found.faults["b.png"]


def test_points_that_are_none_are_a_damaged_region(tmp_path: Path, photos: Path) -> None:
    sized = {"original_width": WIDTH, "original_height": HEIGHT, "polygonlabels": ["crop"]}
    whole = [[0, 0], [90, 0], [90, 90]]
    tasks = [
        {"image": f"{name}.png", "tag": [sized | {"points": points}]} for name, points in (("a", whole), ("b", {}))
    ]
    made = import_data(write_json(tmp_path / "min.json", tasks), tmp_path / "out", images=photos)
    assert (made.found.labeled, made.found.faults) == (["a.png"], {"b.png": "a damaged polygon"})


def test_a_mask_at_infinity_is_a_damaged_region(tmp_path: Path, photos: Path) -> None:
    content = io.BytesIO()
    Image.new("L", (2, 2), 255).save(content, "PNG")
    shape = {"label": "crop", "shape_type": "mask", "mask": base64.b64encode(content.getvalue()).decode()}
    for name, left in (("a", 1.0), ("b", float("inf"))):
        drawn = {"shapes": [shape | {"points": [[left, 0], [left, 1]]}], "imagePath": f"{name}.png"}
        write_json(tmp_path / "marks" / f"{name}.json", drawn)
    made = import_data(tmp_path / "marks", tmp_path / "out", images=photos)
    assert (made.found.labeled, made.found.faults) == (["a.png"], {"b.png": "a damaged mask"})


def test_colours_that_nobody_names_are_listed_and_not_guessed(tmp_path: Path, photos: Path) -> None:
    source = write_colours(tmp_path, photos)
    (source / "dataset.yaml").unlink()
    with pytest.raises(DataError) as caught:
        import_data(source, tmp_path / "out", images=photos)
    text = str(caught.value)
    assert "4 colours in 3 masks, and no file that gives them names" in text
    assert "[120, 90, 60]" in text
    assert "of all pixels, in 3 masks" in text
    assert "`palette: [[0, 0, 0], [60, 160, 60], [120, 90, 60], [200, 60, 60]]`" in text


def test_a_colour_of_no_class_stops_the_import_and_is_named(tmp_path: Path, photos: Path) -> None:
    source = write_colours(tmp_path, photos)
    pixels = np.array(Image.open(source / "masks/b.png"))
    pixels[0, :2] = (61, 160, 60)
    Image.fromarray(pixels).save(source / "masks/b.png")
    with pytest.raises(
        DataError, match=r"(?s)\(61, 160, 60\) on 2 pixels, closest is 'crop' \(60, 160, 60\).*masks/b\.png"
    ):
        import_data(source, tmp_path / "out", images=photos)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out"))] == []


def test_palettes_that_differ_are_matched_by_colour(tmp_path: Path, photos: Path) -> None:
    source = write_colours(tmp_path, photos)
    colours = [*COLOURS.values(), (0, 0, 0)]
    for turn, (name, mask_HW) in enumerate(MASKS.items()):
        order = [(place + turn) % 4 for place in range(4)]
        indices = np.select([mask_HW == id_ for id_ in (0, 1, 2, 255)], order).astype(np.uint8)
        image = Image.fromarray(indices)
        image.putpalette([level for place in range(4) for level in colours[order.index(place)]])
        image.save(source / "masks" / name)
    assert_same(import_data(source, tmp_path / "out", images=photos), MASKS)


def test_an_image_that_labelme_holds_is_taken_only_where_no_file_has_its_name(tmp_path: Path) -> None:
    for name, mask_HW in MASKS.items():
        content = labelme(name, mask_HW, CLASSES, picture(7))
        write_json(tmp_path / "labelme" / f"{Path(name).stem}.json", content)
    (tmp_path / "labelme/a.png").write_bytes(picture(0))
    write_json(tmp_path / "labelme/c.json", labelme("c.png", MASKS["c.png"], CLASSES, b"no image"))
    made = import_data(tmp_path / "labelme", tmp_path / "out")
    assert sorted(made.found.labeled) == ["a.png", "b.png"]
    assert (made.found.embedded, made.found.missing) == (["b.png"], ["c.png"])
    assert (tmp_path / "out/images/a.png").read_bytes() == picture(0)
    assert (tmp_path / "out/images/b.png").read_bytes() == picture(7)


def test_of_two_images_of_a_name_that_labelme_holds_the_first_is_kept(tmp_path: Path) -> None:
    drawn = {"shapes": [{"label": "crop", "points": [[0, 0], [9, 9]], "shape_type": "rectangle"}], "imagePath": "a.png"}
    for folder, seed in (("one", 0), ("two", 1)):
        held = base64.b64encode(picture(seed)).decode()
        write_json(tmp_path / "marks" / folder / "a.json", drawn | {"imageData": held})
    made = import_data(tmp_path / "marks", tmp_path / "out", boxes="fill")
    assert (made.found.labeled, made.found.missing) == (["a.png"], ["two/a.png"])
    assert (tmp_path / "out/images/a.png").read_bytes() == picture(0)


@pytest.mark.parametrize("name", ["", "..", "folder/..", "a\0b"])
def test_a_path_of_labelme_that_names_no_file_is_refused(tmp_path: Path, name: str) -> None:
    held = base64.b64encode(picture()).decode()
    write_json(tmp_path / "marks" / "a.json", {"shapes": [], "imagePath": name, "imageData": held})
    with pytest.raises(DataError, match="unreadable annotations"):
        import_data(tmp_path / "marks", tmp_path / "out")


def test_of_several_annotations_one_is_taken_and_predictions_never(tmp_path: Path, photos: Path) -> None:
    tasks = label_studio(MASKS, CLASSES)
    wrong = label_studio({"a.png": MASKS["b.png"]}, CLASSES)[0]["annotations"][0]
    tasks[0]["annotations"] += [wrong | {"was_cancelled": True}]
    tasks[1]["annotations"] = [tasks[1]["annotations"][0] | {"ground_truth": True}, wrong]
    tasks[2] = {**tasks[2], "annotations": [], "predictions": tasks[2]["annotations"]}
    made = import_data(write_json(tmp_path / "x.json", tasks), tmp_path / "out", images=photos, rest="ignore")
    order = sorted(CLASSES)
    table = np.arange(256, dtype=np.uint8)
    table[: len(CLASSES)] = [order.index(name) for name in CLASSES]
    assert_same(made, {name: table[MASKS[name]] for name in NAMES[:2]})
    assert made.found.empty == ["c.png"]
    assert made.notes[:2] == (
        "1 tasks have several annotations: the ground truth is taken, else the last",
        "1 tasks have only predictions of a model, which are not taken for labels",
    )


def test_label_studios_png_export_is_refused_with_the_way_out(tmp_path: Path, photos: Path) -> None:
    folder = tmp_path / "brush"
    folder.mkdir()
    (folder / "task-1-annotation-2-by-a@b.c-tag-crop-0.png").write_bytes(png(MASKS["a.png"]))
    with pytest.raises(DataError, match=r"(?s)as PNG \(1 files\).*names tasks and not images.*as JSON"):
        import_data(folder, tmp_path / "out", images=photos)


def test_classes_of_a_file_decide_and_a_label_that_is_none_is_named(tmp_path: Path, photos: Path) -> None:
    source = write_coco(tmp_path, photos)
    classes = tmp_path / "mine.yaml"
    classes.write_text("classes: [weed, soil, crop, rest]\n")
    made = import_data(source, tmp_path / "out", images=photos, classes=classes, rest="rest")
    assert (made.classes, made.rest) == (("weed", "soil", "crop", "rest"), "rest")
    table = np.full(256, 3, dtype=np.uint8)
    table[:3] = 1, 2, 0
    assert_same(made, {name: table[mask_HW] for name, mask_HW in MASKS.items()})
    with pytest.raises(DataError, match=r"(?s)nothing is drawn on would be 'background', which is none.*--rest ignore"):
        import_data(source, tmp_path / "other", images=photos, classes=classes)
    classes.write_text("classes: [weed, soil, crops]\n")
    with pytest.raises(DataError, match=r"label 'crop' is none of the classes; did you mean 'crops'"):
        import_data(source, tmp_path / "other", images=photos, classes=classes, rest="ignore")


def test_images_are_found_by_name_and_place(tmp_path: Path) -> None:
    for folder in ("train", "val"):
        (tmp_path / f"photos/{folder}").mkdir(parents=True)
        (tmp_path / f"photos/{folder}/a.png").write_bytes(picture())
    mask = {"val/a.png": MASKS["a.png"]}
    made = import_data(
        write_json(tmp_path / "x.json", coco(mask, CLASSES)), tmp_path / "out", images=tmp_path / "photos"
    )
    assert (made.found.labeled, made.found.unlabeled) == (["val/a.png"], ["train/a.png"])
    unclear = write_json(tmp_path / "y.json", coco({"a.png": MASKS["a.png"]}, CLASSES))
    with pytest.raises(DataError, match=r"(?s)names 'a\.png', which can be train/a\.png or val/a\.png.*--images"):
        import_data(unclear, tmp_path / "other", images=tmp_path / "photos")


def test_nothing_is_overwritten_and_images_are_linked_or_copied(tmp_path: Path, photos: Path) -> None:
    source = write_coco(tmp_path, photos)
    made = import_data(source, tmp_path / "out", images=photos)
    assert (made.folder / "images/a.png").is_symlink()
    assert (made.folder / "images/a.png").resolve() == (photos / "a.png").resolve()
    mode = (photos / "a.png").stat().st_mode
    with pytest.raises(DataError, match=r"(?s)the output exists.*out"):
        import_data(source, tmp_path / "out", images=photos)
    copied = import_data(source, tmp_path / "copied", images=photos, copy=True)
    assert not (copied.folder / "images/a.png").is_symlink()
    assert (photos / "a.png").stat().st_mode == mode
    assert "copies from" in copied.summary()


def test_predicted_masks_are_no_labels_and_imported_ones_are(tmp_path: Path, photos: Path) -> None:
    source = write_colours(tmp_path, photos)
    (source / "masks/predicted_by_semiseg.json").write_text("{}")
    with pytest.raises(DataError, match="a mask that `semiseg predict` wrote"):
        import_data(source, tmp_path / "out", images=photos)


def test_the_verb_says_what_it_did(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, report = write_cvat_zip(tmp_path, photos), tmp_path / "out", tmp_path / "x.json"
    assert main(["data", "import", str(source), "--out", str(out), "--rest", "ignore", "--json", str(report)]) == 0
    said = capsys.readouterr().out
    assert f"3 labeled, 1 unlabeled: {out}" in said
    assert "classes: soil, crop, weed; where nothing is drawn: ignored" in said
    assert f"semiseg train {out}" in said
    assert json.loads(report.read_text())["found"]["labeled"] == list(NAMES)
    (tmp_path / "empty").mkdir()
    assert main(["data", "import", str(tmp_path / "empty"), "--out", str(tmp_path / "no")]) == 2
    said = capsys.readouterr().err
    assert all(f"{name}: {known.title}" in said for name, known in FORMATS.items())
