from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.api import TrainedRun
from semiseg.data.scenes import write_scenes
from semiseg.errors import ConfigError
from semiseg.prediction import Predictor
from semiseg.reporting.record import RunRecord, read_run
from semiseg.reporting.side_by_side import side_by_side


@pytest.fixture
def runs(train_tiny: Callable[..., TrainedRun]) -> dict[str, RunRecord]:
    return {
        "labeled-only": read_run(train_tiny("a", "--method", "supervised").path),
        "fixmatch": read_run(train_tiny("b", "--method", "fixmatch").path),
    }


def pixels(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))


def test_every_run_predicts_the_same_val_images(runs: dict[str, RunRecord], tiny_scenes: Path) -> None:
    found = side_by_side(runs, "cpu")
    names = (tiny_scenes / "val.txt").read_text().split()[::2]
    assert [name for name, _ in found.rows] == names
    for name, cells in found.rows:
        assert [cell.name for cell in cells] == ["image", "truth", "labeled-only", "fixmatch"]
        truth = np.asarray(Image.open(tiny_scenes / "masks" / Path(name).name))
        np.testing.assert_array_equal(np.asarray(pixels(cells[1].data)), truth)
        mask = Predictor.load(runs["fixmatch"].path, "cpu").mask(tiny_scenes / name)
        np.testing.assert_array_equal(np.asarray(pixels(cells[3].data)), mask)
        assert cells[3].note == f"{(mask == truth)[truth != 255].mean():.0%} of the pixels right"
    assert found.notes == ()
    assert set(found.parameters) == {str(run.path) for run in runs.values()}
    assert len(set(found.parameters.values())) == 1


def test_the_legend_names_the_classes_that_occur(runs: dict[str, RunRecord]) -> None:
    found = side_by_side(runs, "cpu")
    shown = {index for _, cells in found.rows for cell in cells[1:] for index in np.unique(pixels(cell.data))}
    card = runs["fixmatch"].card
    assert card is not None
    assert [name for name, _ in found.legend] == [name for index, name in enumerate(card.classes) if index in shown]


def test_data_that_is_gone_leaves_the_pictures_out_and_says_so(
    runs: dict[str, RunRecord], train_tiny: Callable[..., TrainedRun], tmp_path: Path
) -> None:
    write_scenes(tmp_path / "away", labeled=4, unlabeled=2, val=2, size=64)
    gone = {"gone": read_run(train_tiny("c", "--data.root", str(tmp_path / "away")).path)}
    shutil.rmtree(tmp_path / "away")
    found = side_by_side(gone, "cpu")
    assert (found.rows, found.legend) == ((), ())
    assert found.notes == ("No pictures: the val images of these runs cannot be read here (data folder not found).",)
    assert len(found.parameters) == 1, "the model is there"
    assert side_by_side({**gone, **runs}, "cpu").rows, "the first run whose data is there gives them"


def test_images_that_are_not_what_they_were_are_noted(train_tiny: Callable[..., TrainedRun], tmp_path: Path) -> None:
    write_scenes(tmp_path / "own", labeled=4, unlabeled=2, val=2, size=64)
    run = read_run(train_tiny("e", "--data.root", str(tmp_path / "own")).path)
    image = next(path for path in (tmp_path / "own" / "images").iterdir() if "100000" in path.name)
    Image.new("RGB", (64, 64)).save(image)
    assert side_by_side({"it": run}, "cpu").notes[0].startswith("1 of 4 files are not what they were")
    shutil.rmtree(run.path / "data")
    assert "has kept no list" in side_by_side({"it": run}, "cpu").notes[0]


def test_a_run_without_a_model_or_with_a_damaged_one_is_named(runs: dict[str, RunRecord]) -> None:
    shutil.rmtree(runs["labeled-only"].path / "model")
    (runs["fixmatch"].path / "model" / "model.safetensors").write_bytes(b"x")
    found = side_by_side(runs, "cpu")
    assert [[cell.name for cell in cells] for _, cells in found.rows] == [["image", "truth"]] * 2
    assert found.notes[0].startswith("Without labeled-only: no model here")
    assert found.notes[1].startswith("Without fixmatch: ")


def test_a_data_set_of_other_classes_is_not_predicted(runs: dict[str, RunRecord]) -> None:
    card = runs["fixmatch"].path / "model" / "config.json"
    content = json.loads(card.read_text())
    content["classes"][0] = "another"
    card.write_text(json.dumps(content))
    assert side_by_side(runs, "cpu").notes == (
        "Without fixmatch: the data set has other classes by now than the model.",
    )


def test_a_device_that_is_not_there_is_an_error(runs: dict[str, RunRecord]) -> None:
    with pytest.raises(ConfigError):
        side_by_side(runs, "cuda:99")


def test_changes_show_what_was_missed_and_what_is_false(train_tiny: Callable[..., TrainedRun], tmp_path: Path) -> None:
    write_scenes(tmp_path / "pairs", labeled=4, unlabeled=2, val=2, size=64, frames=2)
    run = read_run(train_tiny("d", "--data.root", str(tmp_path / "pairs"), "--method", "supervised").path)
    found = side_by_side({"it": run}, "cpu")
    _, cells = found.rows[0]
    assert [cell.name for cell in cells] == ["before", "after", "truth", "it"]
    truth, seen = np.asarray(pixels(cells[2].data)), np.asarray(pixels(cells[3].data))
    assert set(np.unique(seen[truth == 1])) <= {1, 2}
    assert set(np.unique(seen[truth == 0])) <= {0, 3}
    assert [name for name, _ in found.legend][-2:] == ["missed change", "false change"]
