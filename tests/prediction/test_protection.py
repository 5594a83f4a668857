from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semiseg.api import recipe_config, train
from semiseg.cli import main
from semiseg.data.predicted import MARKER, is_predicted
from semiseg.errors import DataError
from semiseg.prediction import Predictor, predict

PIXELS = np.random.default_rng(0).integers(0, 3, (40, 50), dtype=np.uint8)
LABEL = Image.fromarray(PIXELS)


def write_fields(root: Path, *, images: str = "images", masks: str | None = "masks", yaml: str | None = "") -> Path:
    """Write three images, of which the first has a mask."""
    (root / images).mkdir(parents=True)
    for name in "abc":
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
            root / images / f"{name}.png"
        )
    if masks is not None:
        (root / masks).mkdir(parents=True)
        LABEL.save(root / masks / "a.png")
    if yaml is not None:
        (root / "dataset.yaml").write_text("classes: [field, road, water]\n" + yaml)
    return root


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_labels_of_a_data_set_are_neither_filled_up_nor_replaced(
    predictor: Predictor, tmp_path: Path, overwrite: bool
) -> None:
    root = write_fields(tmp_path / "fields")
    before = contents(root)
    with pytest.raises(DataError, match=r"(?s)part of a data set.*fields/masks.*remedy: .*fields_predicted"):
        predict(predictor, root / "images", root / "masks", overwrite=overwrite)
    assert contents(root) == before


@pytest.mark.parametrize(
    ("data", "out"),
    [
        ({}, "masks"),
        ({}, "masks/north"),
        ({}, "predicted"),
        ({}, "images/predicted"),
        ({"masks": None}, "masks"),
        ({"yaml": None}, "masks"),
        ({"yaml": None}, "masks/north/1"),
        ({"yaml": None, "masks": None}, "masks"),
        ({"yaml": None, "images": "JPEGImages", "masks": None}, "SegmentationClass"),
        ({"yaml": None, "images": "images/training", "masks": None}, "annotations/training"),
        ({"yaml": None, "images": "A", "masks": None}, "label"),
        ({"yaml": "frames: [photos]\nmasks: deep/drawn\n", "images": "photos", "masks": None}, "deep/drawn"),
        ({"yaml": "clases: [unreadable]\n"}, "masks/north"),
    ],
)
def test_no_folder_of_a_data_set_is_an_output(
    predictor: Predictor, tmp_path: Path, data: dict[str, Any], out: str
) -> None:
    root = write_fields(tmp_path / "fields", **data)
    before = contents(root)
    with pytest.raises(DataError, match="part of a data set"):
        predict(predictor, root / data.get("images", "images") / "b.png", root / out)
    assert contents(root) == before


def test_links_and_subfolders_do_not_lead_into_a_data_set(predictor: Predictor, tmp_path: Path) -> None:
    root = write_fields(tmp_path / "fields")
    (tmp_path / "link").symlink_to(root / "masks")
    with pytest.raises(DataError, match="part of a data set"):
        predict(predictor, root / "images", tmp_path / "link")
    (tmp_path / "new").mkdir()
    (root / "images").rename(tmp_path / "new" / "masks")
    (root / "images").mkdir()
    with pytest.raises(DataError, match="part of a data set"):
        predict(predictor, tmp_path / "new", root)  # new/masks/b.png would become fields/masks/b.png


def test_a_folder_of_its_own_is_an_output_also_near_a_data_set(predictor: Predictor, tmp_path: Path) -> None:
    root = write_fields(tmp_path / "fields")
    assert predict(predictor, root / "images", tmp_path / "masks").images == 3
    plain = write_fields(tmp_path / "plain", yaml=None)
    assert predict(predictor, plain / "images", plain / "predicted").images == 3


def test_a_folder_of_other_masks_is_no_output(predictor: Predictor, tmp_path: Path) -> None:
    root = write_fields(tmp_path / "fields")
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    LABEL.save(drawn / "elsewhere.png")
    with pytest.raises(DataError, match=r"(?s)holds masks that `semiseg predict` has not written.*elsewhere\.png"):
        predict(predictor, root / "images", drawn)
    (drawn / "elsewhere.png").unlink()
    Image.new("RGB", (9, 9)).save(drawn / "screenshot.png")
    (drawn / "damaged.png").write_bytes(b"\x89PNG")
    assert predict(predictor, root / "images", drawn).images == 3


def test_overwrite_replaces_what_carries_the_mark_and_nothing_else(predictor: Predictor, tmp_path: Path) -> None:
    root, out = write_fields(tmp_path / "fields"), tmp_path / "out"
    predict(predictor, root / "images", out, overlays=True)
    LABEL.save(out / "b.png")  # corrected by hand
    before = contents(out)
    assert predict(predictor, root / "images", out).skipped == 3
    with pytest.raises(DataError, match=r"(?s)1 files that `semiseg predict` has not written are in the way.*b\.png"):
        predict(predictor, root / "images", out, overwrite=True)
    assert contents(out) == before
    (out / "b.png").unlink()
    assert predict(predictor, root / "images", out, overwrite=True, overlays=True).images == 3
    Image.new("RGB", (9, 9)).save(out / "c_overlay.jpg")
    with pytest.raises(DataError, match=r"c_overlay\.jpg"):
        predict(predictor, root / "images", out, overwrite=True, overlays=True)


def test_an_output_in_the_way_is_no_finished_prediction(predictor: Predictor, tmp_path: Path) -> None:
    root, out = write_fields(tmp_path / "fields"), tmp_path / "out"
    out.mkdir()
    Image.new("RGB", (50, 40)).save(out / "b.png")  # no mask, but where one would stand
    with pytest.raises(DataError, match="in the way"):
        predict(predictor, root / "images", out)
    (out / "b.png").write_bytes(b"")  # what a lost power supply leaves
    assert predict(predictor, root / "images", out).images == 3


def test_masks_overlays_and_their_folders_carry_the_mark(
    predictor: Predictor, tmp_path: Path, write_tif: Callable[..., Path]
) -> None:
    root = write_fields(tmp_path / "fields")
    (root / "images/deep").mkdir()
    Image.open(root / "images/c.png").save(root / "images/deep/c.png")
    write_tif(root / "images/geo.tif", np.zeros((3, 40, 40), np.uint8))
    out = tmp_path / "out"
    predict(predictor, root / "images", out, overlays=True)
    written = [path for path in out.rglob("*") if path.is_file() and path.name != MARKER]
    assert len(written) == 10
    assert (out / "geo.tif").is_file()
    assert [path for path in written if not is_predicted(path)] == []
    for folder in (out, out / "deep"):
        assert "predictions" in json.loads((folder / MARKER).read_text())["meaning"]


def test_training_takes_no_prediction_for_a_label_unasked(
    predictor: Predictor, tmp_path: Path, tiny_words: Callable[..., list[str]]
) -> None:
    root = write_fields(tmp_path / "fields", masks=None)
    predict(predictor, root / "images", tmp_path / "out")
    (tmp_path / "out").rename(root / "masks")  # as if it were a data set now
    _, *words = tiny_words("run", "--method", "supervised", "--data.held_out", "0.34")
    with pytest.raises(DataError, match="not a label"):
        train(recipe_config(str(root), words))
    (root / "masks" / MARKER).unlink()
    with pytest.raises(DataError, match="not a label"):
        train(recipe_config(str(root), words))
    assert not (tmp_path / "run").exists()
    assert train(recipe_config(str(root), [*words, "--data.accept_predicted", "true"])).result.steps == 3


def test_an_evaluation_takes_no_prediction_for_the_truth_unasked(
    predictor: Predictor, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_fields(tmp_path / "fields", masks=None)
    predict(predictor, root / "images", tmp_path / "out")
    (tmp_path / "out").rename(root / "masks")
    words = ["evaluate", str(model), "--data.root", str(root), "--device", "cpu", "--precision", "fp32"]
    assert main(words) == 2
    assert "--data.accept_predicted true" in capsys.readouterr().err
    assert main([*words, "--data.accept_predicted", "true"]) == 0
    assert "over the present classes it would be 100.00%" in capsys.readouterr().out
