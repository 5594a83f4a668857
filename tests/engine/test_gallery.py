from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semiseg.data import DatasetSpec, Sample
from semiseg.data.spec import Protocol
from semiseg.engine import gallery
from semiseg.engine.evaluation import Evaluator
from semiseg.engine.gallery import draw_samples
from semiseg.engine.inference import Inference
from semiseg.engine.pictures import PictureRow, sample_sheet
from semiseg.models import ModelConfig, Segmenter, build_segmenter

CLASSES = ("field", "road", "water")


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), len(CLASSES)).eval()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[PictureRow]:
    """Collect the rows that go onto the sheet."""
    rows: list[PictureRow] = []

    def watched(given: list[PictureRow], *arguments: object, **options: object) -> Image.Image:
        rows.extend(given)
        return sample_sheet(given, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(gallery, "sample_sheet", watched)
    return rows


def write(folder: Path, name: str, masked: bool, size: tuple[int, int] = (40, 50)) -> Sample:
    rng = np.random.default_rng(len(name))
    image, mask = folder / f"{name}.png", folder / f"{name}_mask.png"
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(image)
    Image.fromarray(rng.integers(0, 3, size, dtype=np.uint8)).save(mask)
    return Sample(name, (image,), mask if masked else None)


def evaluator(samples: tuple[Sample, ...], protocol: Protocol = "original") -> Evaluator:
    return Evaluator(
        samples=samples,
        spec=DatasetSpec(name="x", classes=CLASSES, palette=((1, 2, 3), (99, 0, 0), (0, 99, 0))),
        inference=Inference(protocol=protocol, window=32, tile=1024, bf16=False),
        batch=2,
        max_pixels=10**6,
    )


@pytest.mark.parametrize(
    ("count", "shown"), [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (4, [0, 1, 2]), (9, [0, 3, 6])]
)
def test_samples_are_taken_evenly_over_the_list_each_once(
    tmp_path: Path, model: Segmenter, drawn: list[PictureRow], count: int, shown: list[int]
) -> None:
    val = tuple(write(tmp_path, f"val {number}", masked=True) for number in range(count))
    unlabeled = write(tmp_path, "unlabeled", masked=False)
    draw_samples(model, evaluator(val), [unlabeled], 0.95)
    assert [row.title for row in drawn] == [*(f"val {number}" for number in shown), "unlabeled"]


@pytest.mark.parametrize("protocol", ["original", "sliding"])
@pytest.mark.parametrize("size", [(40, 50), (20, 70)])
def test_a_row_shows_image_truth_prediction_and_confidence(
    tmp_path: Path, model: Segmenter, drawn: list[PictureRow], protocol: Protocol, size: tuple[int, int]
) -> None:
    val, unlabeled = write(tmp_path, "val", True, size), write(tmp_path, "free", False, size)
    judge = evaluator((val,), protocol)
    sheet = draw_samples(model, judge, [unlabeled], 0.7)
    assert sheet.width > 0
    for row, sample in zip(drawn, (val, unlabeled), strict=True):
        image = np.array(Image.open(sample.frames[0]))
        assert np.array_equal(row.frames[0], image)
        with torch.no_grad():
            [block] = judge.blocks(model, torch.from_numpy(image).permute(2, 0, 1)[None, None], torch.device("cpu"))
        assert row.prediction_HW is not None
        assert row.confidence_HW is not None
        assert np.array_equal(row.prediction_HW, block.scores_BKHW.argmax(1)[0].numpy())
        assert row.threshold == 0.7
        assert row.confidence_HW.shape == size
        assert row.confidence_HW.min() >= 1 / len(CLASSES) - 1e-5, "the largest share of three is at least a third"
        assert row.confidence_HW.max() <= 1 + 1e-5
    assert drawn[0].truth_HW is not None
    assert val.mask is not None
    assert np.array_equal(drawn[0].truth_HW, np.array(Image.open(val.mask)))
    assert drawn[1].truth_HW is None


def test_the_confidence_is_the_probability_of_the_label(
    tmp_path: Path, model: Segmenter, drawn: list[PictureRow]
) -> None:
    sample = write(tmp_path, "val", masked=True, size=(32, 32))
    for protocol in ("original", "sliding"):  # one window that is the whole image: both protocols see the same
        draw_samples(model, evaluator((sample,), protocol), [], 0.95)
    whole, window = (row.confidence_HW for row in drawn)
    assert whole is not None
    assert window is not None
    np.testing.assert_allclose(whole, window, rtol=1e-5)
