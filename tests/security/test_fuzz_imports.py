"""Whatever an annotation tool is said to have exported is read or refused by name, and nothing is left behind.

`SEMISEG_FUZZ=10000` tries as many cases of each format.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import coco, coloured, cvat_masks, cvat_xml, label_studio, labelme, png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semiseg.data.imports import import_data
from semiseg.data.spec import read_class_ids, read_spec
from semiseg.errors import SemisegError

EXAMPLES = settings(
    max_examples=int(os.environ.get("SEMISEG_FUZZ", "200")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
# pycocotools 2.0.11 is behind NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
CLASSES = ("soil", "crop")
COLOURS = {"soil": (9, 9, 9), "crop": (0, 200, 0)}
MASKS = {name: np.indices((6, 8)).sum(0).astype(np.uint8) // 2 % 3 for name in ("a.png", "b.png")}
POLYGON = [[1.0, 1, 7, 1, 7, 5]]


def jsons() -> dict[str, Any]:
    """Return a right file of each format."""
    instances = coco(MASKS, CLASSES)
    instances["annotations"] += [{"id": 9, "image_id": 1, "category_id": 1, "segmentation": POLYGON}]
    instances["annotations"] += [{"id": 10, "image_id": 2, "category_id": 2, "bbox": [1, 1, 3, 3]}]
    tasks = label_studio(MASKS, CLASSES)
    corners = {"points": [[10, 10], [90, 10], [90, 90]], "polygonlabels": ["crop"]}
    tasks[0]["annotations"][0]["result"].append(
        {"type": "polygonlabels", "value": corners, "original_width": 8, "original_height": 6}
    )
    short = [{"image": "a.png", "id": 1, "tag": [corners | {"original_width": 8, "original_height": 6}]}]
    drawn = labelme("a.png", MASKS["a.png"], CLASSES, png(coloured(MASKS["a.png"], {0: (1, 2, 3)})))
    drawn["shapes"].append({"label": "crop", "points": [[1, 1], [7, 1], [7, 5]], "shape_type": "polygon"})
    drawn["shapes"].append({"label": "crop", "points": [[1, 1], [7, 5]], "shape_type": "rectangle"})
    packed = coco(MASKS, CLASSES, packed=True)
    return {"coco": instances, "coco packed": packed, "labelstudio": tasks, "labelstudio min": short, "labelme": drawn}


JSONS = jsons()
ODD = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            -1,
            0,
            1,
            1e308,
            float("nan"),
            float("inf"),
            2**31,
            2**63,
            10**400,
            "",
            "\0",
            "../x",
            "a.png",
            [],
            {},
        ]
    ),
    st.text(max_size=4),
    st.integers(-9, 99),
    st.lists(st.integers(-9, 300), max_size=6),
)


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in nested JSON."""
    below = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for key, value in below for place in places(value, (*path, key)))]


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = changed(content[path[0]], path[1:], value)
    return copy


@st.composite
def odd_json(draw: st.DrawFn, content: Any) -> bytes:
    """Draw a right file with one or two values replaced, or one cut off."""
    for _ in range(draw(st.integers(1, 2))):
        content = changed(content, draw(st.sampled_from(places(content))), draw(ODD))
    text = json.dumps(content)
    return (
        text[: draw(st.integers(0, len(text)))].encode()
        if draw(st.booleans()) and draw(st.booleans())
        else text.encode()
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, mask_HW in MASKS.items():
        (folder / name).write_bytes(png(coloured(mask_HW, {0: (1, 2, 3), 1: (4, 5, 6)})))
    return folder


def tried(source: Path, out: Path, images: Path, **options: Any) -> None:
    """Import; what comes out is a data folder that can be read, or nothing."""
    if out.exists():
        shutil.rmtree(out)
    try:
        made = import_data(source, out, images=images, max_pixels=10_000, **options)
    except SemisegError as error:
        assert "remedy:" in str(error)  # noqa: PT017
        assert str(error).replace("\n", "").isprintable()  # noqa: PT017
        assert not out.exists()
        assert not [path for path in out.parent.iterdir() if path.name.startswith(".draft")]
        return
    spec = read_spec(out / "dataset.yaml")
    for image in made.found.labeled:
        ids_HW = read_class_ids(out / "masks" / f"{image.rpartition('.')[0]}.png", spec)
        assert ids_HW.shape == (6, 8)
        assert set(np.unique(ids_HW)) <= {*range(spec.num_classes), 255}


@EXAMPLES
@pytest.mark.parametrize("kind", JSONS)
@given(data=st.data())
def test_fuzz_json(tmp_path: Path, photos: Path, kind: str, data: st.DataObject) -> None:
    source = tmp_path / "in/x.json"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(data.draw(odd_json(JSONS[kind])))
    boxes = data.draw(st.sampled_from([None, "fill", "ignore"]))
    tried(source, tmp_path / "out", photos, boxes=boxes, format=data.draw(st.sampled_from(["auto", kind.split()[0]])))


XML = cvat_xml(MASKS, CLASSES, extra='<polygon label="crop" points="1,1;7,1;7,5" z_order="2"/>')
PIECES = ["&b;", "<", ">", '"', "nan", "-1", "1e308", "inf", "9" * 20, "", "<track/>", "<!DOCTYPE a>", "\0", ",", ";"]


@EXAMPLES
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), st.sampled_from(PIECES)), min_size=1, max_size=3),
    st.sampled_from([None, "fill"]),
)
def test_fuzz_xml(tmp_path: Path, photos: Path, edits: list[tuple[float, int, str]], boxes: Any) -> None:
    text = XML
    for share, dropped, piece in edits:
        place = int(share * len(text))
        text = text[:place] + piece + text[place + dropped :]
    source = tmp_path / "in/annotations.xml"
    source.parent.mkdir(exist_ok=True)
    source.write_text(text)
    tried(source, tmp_path / "out", photos, boxes=boxes, format="cvat")


@EXAMPLES
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3),
    rest=st.sampled_from([None, "ignore"]),
)
def test_fuzz_zip(tmp_path: Path, photos: Path, edits: list[tuple[float, bytes]], rest: Any) -> None:
    source = tmp_path / "in/x.zip"
    source.parent.mkdir(exist_ok=True)
    cvat_masks(source, MASKS, COLOURS, {path.name: path.read_bytes() for path in photos.iterdir()})
    content = bytearray(source.read_bytes())
    for share, value in edits:
        place = int(share * len(content))
        content[place : place + len(value)] = value
    source.write_bytes(content)
    tried(source, tmp_path / "out", photos, rest=rest)


LINES = st.lists(
    st.sampled_from(
        ["background:0,0,0::", "soil:9,9,9::", "crop:0,200,0::", "crop:0,0,0::", "x:1,2::", "y:256,0,0::", "#", ""]
    )
    | st.text(max_size=12),
    max_size=5,
)


@EXAMPLES
@given(LINES, st.sampled_from([None, "ignore", "crop"]))
def test_fuzz_labelmap(tmp_path: Path, photos: Path, lines: list[str], rest: str | None) -> None:
    source = tmp_path / "in"
    if not source.exists():
        (source / "SegmentationClass").mkdir(parents=True)
        for name, mask_HW in MASKS.items():
            pixels = coloured(mask_HW, dict(enumerate(COLOURS.values())))
            (source / "SegmentationClass" / name).write_bytes(png(pixels))
    (source / "labelmap.txt").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    tried(source, tmp_path / "out", photos, rest=rest)
