"""A model that was trained on reduced photographs predicts photographs in their own size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.reading import MAX_PIXELS, read_image
from semiseg.prediction import Predictor, predict
from semiseg.prediction.frames import Photograph

LONG = 64


@pytest.fixture
def small_eyed(predictor: Predictor) -> Predictor:
    """Return the model as if it had been trained with `data.long_side` 64."""
    return Predictor(predictor.segmenter, replace(predictor.card, long_side=LONG), "cpu", "fp32")


def photo(height: int = 150, width: int = 210, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def seen(path: Path) -> NDArray[np.uint8]:
    return np.asarray(read_image(path, long_side=LONG))


def test_scores_are_those_of_the_reduced_picture_enlarged(
    small_eyed: Predictor, predictor: Predictor, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(photo()).save(path, quality=92)
    small_KHW = predictor.scores(seen(path))
    assert small_KHW.shape == (3, 46, 64)
    wanted = F.interpolate(small_KHW[None], (150, 210), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(small_eyed.scores(path), wanted, atol=1e-4, rtol=1e-4)
    found = small_eyed.predict(path, probabilities=True)
    assert (found.mask_HW != wanted.argmax(0).numpy()).mean() < 1e-3, "but for ties"
    assert found.probabilities_KHW == pytest.approx(wanted.softmax(0).numpy(), abs=1e-4)


@pytest.mark.parametrize("look", [{"tile": 32}, {"flip": True}, {"scales": (0.5, 1.0)}])
def test_tiles_and_several_looks_are_enlarged_as_probabilities(
    small_eyed: Predictor, predictor: Predictor, tmp_path: Path, look: dict[str, Any]
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo()).save(path)
    small_KHW = predictor.predict_one(seen(path), probabilities=True, **look).probabilities_KHW
    assert small_KHW is not None
    wanted = F.interpolate(torch.from_numpy(small_KHW)[None], (150, 210), mode="bilinear", align_corners=False)[0]
    found = small_eyed.predict_one(path, probabilities=True, **look).probabilities_KHW
    assert found == pytest.approx(wanted.numpy(), abs=1e-4)


def test_a_picture_that_is_not_larger_is_seen_as_it_is(small_eyed: Predictor, predictor: Predictor) -> None:
    small = photo(50, 60)
    assert torch.equal(small_eyed.scores(small), predictor.scores(small))


def test_arrays_images_tensors_and_lossless_files_are_reduced_alike(small_eyed: Predictor, tmp_path: Path) -> None:
    array = photo()
    Image.fromarray(array).save(tmp_path / "a.png")
    wanted = small_eyed.mask(tmp_path / "a.png")
    assert wanted.shape == (150, 210)
    for picture in (array, Image.fromarray(array), torch.from_numpy(array.copy()).permute(2, 0, 1)):
        assert np.array_equal(small_eyed.mask(picture), wanted)


def test_an_overlay_shows_the_photograph_as_large_as_it_is(small_eyed: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo()).save(tmp_path / "a.jpg", exif=exif)
    found = small_eyed.predict_one(tmp_path / "a.jpg")
    assert isinstance(found.picture, Photograph)
    assert found.mask_HW.shape == (210, 150)
    assert np.array_equal(np.asarray(found.overlay(alpha=0.0)), np.asarray(read_image(tmp_path / "a.jpg")))


def test_a_folder_gives_masks_overlays_and_probabilities_of_each_photographs_size(
    small_eyed: Predictor, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    sizes = {"a": (150, 210), "b": (300, 90), "c": (40, 30)}
    for seed, (name, size) in enumerate(sizes.items()):
        Image.fromarray(photo(*size, seed)).save(tmp_path / f"in/{name}.jpg")
    out = tmp_path / "out"
    assert predict(small_eyed, tmp_path / "in", out, overlays=True, probabilities=True).images == 3
    for name, (height, width) in sizes.items():
        for file in (f"{name}.png", f"{name}_overlay.jpg"):
            assert Image.open(out / file).size == (width, height)
        with np.load(out / f"{name}_probabilities.npz") as kept:
            assert kept["probabilities_KHW"].shape == (3, height, width)


def test_pairs_are_reduced_together(change: Predictor, tmp_path: Path) -> None:
    small_eyed = Predictor(change.segmenter, replace(change.card, long_side=LONG), "cpu", "fp32")
    before, after = photo(seed=1), photo(seed=2)
    Image.fromarray(before).save(tmp_path / "a.png")
    assert np.array_equal(small_eyed.mask(tmp_path / "a.png", after), small_eyed.mask(before, after))
    assert small_eyed.mask(before, after).shape == (150, 210)


def test_a_geotiff_is_reduced_in_strips_as_a_file_that_is_read_whole(
    small_eyed: Predictor, tmp_path: Path, write_tif: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tif(tmp_path / "a.tif", photo().transpose(2, 0, 1))
    monkeypatch.setattr("semiseg.data.reduction._STRIP", 5000)
    [found] = small_eyed.open((path,), MAX_PIXELS).seen
    assert isinstance(found, np.ndarray)
    assert np.abs(found.astype(int) - np.asarray(read_image(path, long_side=LONG))).max() <= 1
    predict(small_eyed, path, tmp_path / "out")
    assert Image.open(tmp_path / "out/a.tif").size == (210, 150)
