"""The figure is that of the masks: evaluation, its pictures and prediction see an image in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semiseg import Predictor, evaluate, predict
from semiseg.data import DataConfig, DatasetSpec, Sample
from semiseg.data.palette import default_palette
from semiseg.engine import gallery, keepsakes
from semiseg.engine.config import Precision
from semiseg.engine.evaluation import Evaluator, count_confusion
from semiseg.engine.gallery import draw_samples
from semiseg.engine.pictures import PictureRow, sample_sheet
from semiseg.models import ModelCard, ModelConfig, build_segmenter, load_model, save_model

CLASSES = ("field", "road", "water")


def write_card(folder: Path, **changes: object) -> Path:
    """Save an untrained model and say how it was evaluated."""
    config = ModelConfig(encoder="vit_nano", weights="random")
    card = ModelCard(classes=CLASSES, palette=default_palette(3), crop=32, model=config)
    save_model(folder, build_segmenter(config, 3), replace(card, **changes))  # type: ignore[arg-type]
    return folder


def write_data(root: Path, *sizes: tuple[int, int]) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "dataset.yaml").write_text(f"classes: [{', '.join(CLASSES)}]\n")
    for number, (height, width) in enumerate(sizes):
        blocks = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        blocks.resize((width, height), Image.Resampling.BICUBIC).save(root / f"images/{number}.png")
        Image.fromarray(rng.integers(0, 3, (height, width), dtype=np.uint8)).save(root / f"masks/{number}.png")
    names = [f"images/{number}.png masks/{number}.png\n" for number in range(len(sizes))]
    (root / "val.txt").write_text("".join(names))
    return root


def confusion_of_masks(root: Path, masks: Path) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    counts = np.zeros((3, 3), np.int64)
    for truth in sorted((root / "masks").iterdir()):
        pair = [torch.from_numpy(np.array(Image.open(path)))[None] for path in (truth, masks / truth.name)]
        counts += count_confusion(*pair, 3, 255)[0].numpy()
    return counts


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"protocol": "original", "tile": 64}, None),
        ({"protocol": "sliding", "tile": 64}, None),
        ({"protocol": "original"}, 48),
        ({"protocol": "original", "precision": "bf16", "tile": 64}, None),
        ({"protocol": "sliding", "precision": "fp32"}, None),
    ],
)
def test_evaluate_finds_the_figure_of_the_masks_that_predict_writes(
    tmp_path: Path, changes: dict[str, object], asked: int | None
) -> None:
    model = write_card(tmp_path / "model", **changes)
    root = write_data(tmp_path / "data", (70, 150), (33, 40), (130, 60))
    found = evaluate(model, DataConfig(root=str(root), val=str(root / "val.txt")), device="cpu", tile=asked)
    predict(model, root / "images", tmp_path / "out", device="cpu", tile=asked)
    assert np.array_equal(found.confusion_KK, confusion_of_masks(root, tmp_path / "out"))


def test_an_image_of_hundreds_of_tiles_has_the_figure_of_its_mask(tmp_path: Path) -> None:
    """Of 336, as 12 megapixels have in tiles of 256."""
    model = write_card(tmp_path / "model", tile=64)
    root = write_data(tmp_path / "data", (750, 1000))
    found = evaluate(model, DataConfig(root=str(root), val=str(root / "val.txt")), device="cpu")
    predict(model, root / "images", tmp_path / "out", device="cpu")
    assert np.array_equal(found.confusion_KK, confusion_of_masks(root, tmp_path / "out"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_prediction_and_evaluation_compute_in_the_precision_of_the_training(
    tmp_path: Path, precision: Precision
) -> None:
    model = write_card(tmp_path / "model", precision=precision)
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    own = Predictor.load(model, "cpu").scores(picture)
    for asked in ("fp32", "bf16"):
        scores = Predictor.load(model, "cpu", asked).scores(picture)
        assert torch.equal(own, scores) is (asked == precision)


def test_the_pictures_of_a_large_image_show_its_mask_and_stay_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[PictureRow] = []
    real: Callable[..., Image.Image] = sample_sheet

    def watched(given: list[PictureRow], *rest: object, **options: object) -> Image.Image:
        rows.extend(given)
        return real(given, *rest, **options)

    monkeypatch.setattr(gallery, "sample_sheet", watched)
    monkeypatch.setattr(keepsakes, "_LONGEST", 50)
    segmenter, card = load_model(write_card(tmp_path / "model", tile=64))
    root = write_data(tmp_path / "data", (100, 150))
    predictor = Predictor(segmenter, card, "cpu")
    evaluator = Evaluator(
        samples=[Sample("0", (root / "images/0.png",), root / "masks/0.png")],
        spec=DatasetSpec(name="x", classes=CLASSES, palette=card.palette),
        inference=predictor.inference(),
        batch=1,
        max_pixels=10**6,
    )
    draw_samples(segmenter, evaluator, [], 0.5)
    [row] = rows
    assert np.array_equal(row.prediction_HW, predictor.mask(root / "images/0.png")[::3, ::3])
    assert row.confidence_HW is not None
    assert row.truth_HW is not None
    assert row.confidence_HW.shape == row.truth_HW.shape == row.frames[0].shape[:2] == (34, 50)
    expected = predictor.scores(root / "images/0.png").amax(0).numpy()[::3, ::3]
    np.testing.assert_allclose(row.confidence_HW, expected, atol=1e-6)
