"""What a model is sure of goes to an annotation tool and comes back by `data import`, to the pixel, once corrected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semiseg.api import recipe_config
from semiseg.cli import main
from semiseg.data import DataConfig, check_dataset, load_dataset
from semiseg.data.imports import import_data
from semiseg.data.predicted import MARKER
from semiseg.data.spec import read_class_ids, read_spec
from semiseg.errors import ConfigError, DataError
from semiseg.models import read_card
from semiseg.suggestion import suggest
from semiseg.suggestion.kept_masks import KeptMasks
from semiseg.suggestion.labels import write_labels
from semiseg.suggestion.pool import find_pool

Mask = NDArray[np.uint8]
CHANGED = (slice(0, 9), slice(0, 11))
"""The pixels that a person corrects in the first image, to class 1."""


@pytest.fixture
def made(run: Path, tmp_path: Path) -> Callable[[str], tuple[Path, dict[str, Mask]]]:
    """Return `made(format)`: a folder of labels to correct, and the masks in it by the names of images."""
    draw, truth, masks = np.random.default_rng(0), dict[str, Mask](), KeptMasks()
    card = read_card(run / "model")
    samples = find_pool(recipe_config(str(run / "config.yaml")).data).unlabeled[:3]
    for sample in samples:
        ids = draw.choice(np.array([0, 1, 2, 3, 255], dtype=np.uint8), (16, 16)).repeat(4, 0).repeat(4, 1)
        masks[sample.id] = truth[Path(sample.id).name] = ids

    def make(format: str) -> tuple[Path, dict[str, Mask]]:
        out = tmp_path / "to correct"
        write_labels(out, samples, "images", card, masks, format)  # type: ignore[arg-type]
        return out, truth

    return make


def corrected(truth: dict[str, Mask]) -> dict[str, Mask]:
    first = next(iter(truth))
    mask_HW = truth[first].copy()
    mask_HW[CHANGED] = 1
    return {**truth, first: mask_HW}


def held(folder: Path) -> dict[str, Mask]:
    """Return the masks of a data folder as training reads them."""
    spec = read_spec(folder / "dataset.yaml")
    return {path.name: read_class_ids(path, spec) for path in sorted((folder / "masks").rglob("*.png"))}


def assert_equal(found: dict[str, Mask], wanted: dict[str, Mask]) -> None:
    assert found.keys() == wanted.keys()
    for name, mask_HW in wanted.items():
        np.testing.assert_array_equal(found[name], mask_HW, err_msg=name)


def correct_png(out: Path, first: str) -> None:
    """Paint in the colours, as a person does who saves the file anew."""
    path = next((out / "masks").rglob(first))
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB"))
    pixels[CHANGED] = read_spec(out / "dataset.yaml").palette[1]
    Image.fromarray(pixels).save(path)


def correct_coco(out: Path, first: str) -> None:
    """Add a region of the right class, which covers what was there."""
    path = out / "instances.json"
    content = json.loads(path.read_text())
    image = next(entry for entry in content["images"] if entry["file_name"].endswith(first))
    region_HW = np.zeros((64, 64), dtype=bool)
    region_HW[CHANGED] = True
    counts = np.diff([0, *(np.flatnonzero(np.diff(region_HW.T.ravel())) + 1), 64 * 64]).tolist()
    added = {"id": 999, "image_id": image["id"], "category_id": 2, "iscrowd": 0}
    content["annotations"].append({**added, "segmentation": {"size": [64, 64], "counts": [0, *counts]}})
    path.write_text(json.dumps(content))


def correct_cvat(out: Path, first: str) -> None:
    path = out / "annotations.xml"
    name = read_spec(out / "dataset.yaml").classes[1]
    head, _, rest = path.read_text().partition(first)
    mask = f'<mask label="{name}" rle="0, 99" left="0" top="0" width="11" height="9" z_order="1"></mask></image>'
    path.write_text(head + first + rest.replace("</image>", mask, 1))


def correct_labelstudio(out: Path, first: str) -> None:
    """Accept every prediction, as Label Studio copies it into an annotation, and add a polygon."""
    tasks = json.loads((out / "tasks.json").read_text())
    name = read_spec(out / "dataset.yaml").classes[1]
    for task in tasks:
        result = task.pop("predictions")[0]["result"]
        if task["data"]["image"].endswith(first):
            corners = [[0, 0], [100 * 11 / 64, 0], [100 * 11 / 64, 100 * 9 / 64], [0, 100 * 9 / 64]]
            result.append({"type": "polygonlabels", "value": {"points": corners, "polygonlabels": [name]}})
        task["annotations"] = [{"was_cancelled": False, "result": result}]
    (out / "tasks.json").write_text(json.dumps(tasks))


CORRECTIONS = {"png": correct_png, "coco": correct_coco, "cvat": correct_cvat, "labelstudio": correct_labelstudio}


@pytest.mark.parametrize("format", CORRECTIONS)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_corrected_labels_come_back_to_the_pixel_without_a_mark(
    format: str, made: Callable[[str], tuple[Path, dict[str, Mask]]], tmp_path: Path
) -> None:
    if format == "labelstudio":
        pytest.importorskip("pycocotools", reason="polygons need pycocotools (the extra import)")
    out, truth = made(format)
    CORRECTIONS[format](out, next(iter(truth)))
    found = import_data(out, tmp_path / "back", rest=None if format == "png" else "ignore")
    assert any("labels of a model, corrected: 1 of" in note for note in found.notes)
    assert not list((tmp_path / "back").rglob(MARKER))
    assert_equal(held(tmp_path / "back"), corrected(truth))
    assert found.classes == read_spec(out / "dataset.yaml").classes
    dataset = load_dataset(DataConfig(root=str(tmp_path / "back"), held_out=0.0))
    check_dataset(dataset, 10**8, unlabeled=False)


@pytest.mark.parametrize("format", CORRECTIONS)
def test_labels_that_nobody_has_corrected_are_not_imported(
    format: str, made: Callable[[str], tuple[Path, dict[str, Mask]]], tmp_path: Path
) -> None:
    out, _ = made(format)
    with pytest.raises(DataError, match="in which nothing is corrected"):
        import_data(out, tmp_path / "back", rest="ignore")
    assert not (tmp_path / "back").exists()


def test_training_takes_machine_made_masks_only_if_asked(
    made: Callable[[str], tuple[Path, dict[str, Mask]]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = made("png")
    words = ["train", str(out), "--data.held_out", "0", "--model.encoder", "vit_nano", "--model.weights", "random"]
    words += ["--data.crop", "32", "--device", "cpu", "--method", "supervised"]
    assert main([*words, "--run.folder", str(out.parent / "runs")]) == 2
    said = capsys.readouterr().err
    assert "a mask that `semiseg predict` wrote, not a label" in said
    assert "--data.accept_predicted true" in said
    config = DataConfig(root=str(out), held_out=0.0, accept_predicted=True)
    dataset = load_dataset(config)
    assert len(dataset.labeled) == 3
    check_dataset(dataset, 10**8, unlabeled=False)


def test_the_verb_writes_labels_beside_the_suggestions(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "to correct"
    words = ["data", "suggest", str(run), "--budget", "2", "--as-labels", str(out), "--format", "cvat"]
    assert main([*words, "--device", "cpu"]) == 0
    assert {path.name for path in out.iterdir()} == {"annotations.xml", "dataset.yaml", "images", MARKER}
    listed = (run / "suggestions/suggested.txt").read_text().splitlines()
    assert sorted(path.name for path in (out / "images").iterdir()) == sorted(Path(line).name for line in listed)
    assert all(path.resolve().is_file() for path in (out / "images").iterdir())


def test_labels_without_a_model_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="labels to correct need a model"):
        suggest(photos, tmp_path / "next", budget=2, as_labels=tmp_path / "labels", device="cpu")
    assert not (tmp_path / "next").exists()
