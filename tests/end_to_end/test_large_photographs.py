"""A training on photographs that are read reduced, and what people do with its model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import semiseg
from semiseg.api import recipe_config, train
from semiseg.cli import main
from semiseg.data import load_dataset
from semiseg.data.reduction import reduce_mask
from semiseg.data.scenes import write_scenes
from semiseg.engine.evaluation import count_confusion
from semiseg.errors import SemisegError
from semiseg.models import read_card
from semiseg.planning.settings import are_photographs, of_size

LONG = "64"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return scenes of 240 pixels; the unlabeled images are photographs of another shape, lying on their side."""
    root = tmp_path_factory.mktemp("photos") / "scenes"
    write_scenes(root, labeled=3, unlabeled=3, val=3, size=240)
    exif = Image.Exif()
    exif[0x0112] = 6
    listed = (root / "unlabeled.txt").read_text()
    for name in listed.split():
        Image.open(root / name).resize((200, 120)).save((root / name).with_suffix(".jpg"), exif=exif)
        (root / name).unlink()
    (root / "unlabeled.txt").write_text(listed.replace(".png", ".jpg"))
    return root


def words(folder: Path, name: str, *overrides: str) -> list[str]:
    return [
        *("--run.folder", str(folder), "--run.name", name, "--device", "cpu", "--precision", "fp32"),
        *("--model.encoder", "vit_nano", "--model.weights", "random", "--data.crop", "32", "--data.workers", "0"),
        *("--schedule.steps", "2", "--schedule.batch", "2", "--evaluation.every", "100"),
        *("--data.long_side", LONG, *overrides),
    ]


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return train(recipe_config(str(photos), words(folder, "small"))).path


def test_figures_are_of_reduced_images_and_masks_of_photographs(run: Path, photos: Path, tmp_path: Path) -> None:
    assert read_card(run / "model").long_side == int(LONG)
    found = semiseg.evaluate(run, device="cpu")
    assert any("reduced" in note for note in found.notes)
    assert found.miou == pytest.approx(read_card(run / "model").metrics["miou"], abs=1e-6)
    assert found.confusion_KK.sum() <= found.images * int(LONG) ** 2
    assert "read reduced" in (run / "train.log").read_text()
    assert "in training and evaluation" in (run / "report.html").read_text()

    model, seen = semiseg.load(run, "cpu"), 0
    for line in (run / "data/val.txt").read_text().splitlines():
        image, mask = (photos / name for name in line.split())
        assert model.mask(image).shape == (240, 240)
        [block] = model.blocks(model.open((image,)).as_seen, model.inference())
        truth_HW = reduce_mask(np.asarray(Image.open(mask)), int(LONG)).copy()
        said_1HW = block.scores_BKHW.argmax(1)
        seen += count_confusion(torch.from_numpy(truth_HW)[None], said_1HW, len(found.classes), 255)[0].numpy()
    assert np.array_equal(seen, found.confusion_KK), "predict and evaluate see the same pixels"

    semiseg.predict(run, photos / "images", tmp_path / "masks", device="cpu")
    sizes = {Image.open(path).size for path in (tmp_path / "masks").rglob("*.png")}
    assert sizes == {(240, 240), (120, 200)}


def test_another_long_side_is_another_run(run: Path, photos: Path) -> None:
    with pytest.raises(SemisegError, match=r"data\.long_side"):
        train(recipe_config(str(photos), [*words(run.parent, "small"), "--data.long_side", "96"]), resume=True)


def test_a_student_that_reads_images_at_another_size_learns_labels_of_its_own_size(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = ["distill", str(run), "--encoder", "vit_nano", "--model.weights", "random", "--scales", "1"]
    where = ["--run.folder", str(tmp_path), "--labels", str(tmp_path / "labels")]
    assert main([*student, *where, "--run.name", "student", "--data.long_side", "96"]) == 0
    labels = {Image.open(path).size for path in (tmp_path / "labels").rglob("*.png")}
    assert labels == {(58, 96)}
    assert read_card(tmp_path / "student/model").long_side == 96
    assert "(data.long_side, small: 64, student: 96)" in capsys.readouterr().out
    assert main([*student, *where, "--run.name", "third"]) == 2
    assert "made otherwise" in capsys.readouterr().err
    settings = recipe_config(
        str(run / "config.yaml"), ["--run.name", "fifth", "--data.teacher", str(tmp_path / "labels")]
    )
    with pytest.raises(SemisegError, match=r"images read at another size: data\.long_side 96"):
        train(settings)


def test_suggestions_have_masks_of_each_photographs_size(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiseg.suggestion.features.SIDE", 56)
    out = tmp_path / "suggested"
    assert main(["data", "suggest", str(run), "--budget", "2", "--out", str(out), "--device", "cpu"]) == 0
    for entry in json.loads((out / "suggestions.json").read_text()):
        assert Image.open(out / entry["mask"]).size == (120, 200)


def test_a_plan_reads_photographs_smaller_that_are_longer_than_four_crops(photos: Path, tmp_path: Path) -> None:
    config = recipe_config(str(photos), ["--data.crop", "32"])
    dataset = load_dataset(config.data)
    [setting] = of_size(config, dataset, [])
    assert setting.words == ("--data.long_side", "128")
    assert not are_photographs(dataset), "labeled ones are PNGs: offered, not set"
    for given in (["--data.long_side", "100"], ["--data.crop", "64"]):
        assert of_size(recipe_config(str(photos), ["--data.crop", "32", *given]), dataset, given) == []
    assert of_size(recipe_config("default", ["--data.spec", "camvid"]), dataset, []) == []
