from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from semiseg.errors import ConfigError, DataError, ModelError
from semiseg.models import build_segmenter, load_model
from semiseg.prediction import Predictor


def photo(height: int = 45, width: int = 61) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_scores_are_fp32_at_the_size_of_the_picture_and_the_mask_is_their_argmax(predictor: Predictor) -> None:
    scores = predictor.scores(photo())
    assert scores.shape == (3, 45, 61)
    assert scores.dtype == torch.float32
    mask = predictor.mask(photo())
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, scores.argmax(0).numpy())


def test_an_array_an_image_and_a_path_give_the_same_scores(predictor: Predictor, tmp_path: Path) -> None:
    array = photo()
    Image.fromarray(array).save(tmp_path / "photo.png")
    expected = predictor.scores(array)
    for picture in (Image.fromarray(array), tmp_path / "photo.png", str(tmp_path / "photo.png"), (array,)):
        assert torch.equal(predictor.scores(picture), expected)


def test_the_picture_is_turned_by_its_exif_orientation(predictor: Predictor, tmp_path: Path) -> None:
    image = Image.fromarray(photo(40, 60))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert predictor.mask(tmp_path / "turned.png").shape == (60, 40)


def test_the_overlay_has_the_size_of_the_picture_and_at_alpha_zero_its_pixels(predictor: Predictor) -> None:
    assert np.array_equal(np.asarray(predictor.overlay(photo(), alpha=0.0)), photo())
    solid = np.asarray(predictor.overlay(photo(), alpha=1.0))
    palette = np.array(predictor.card.palette)
    assert np.array_equal(solid, palette[predictor.mask(photo())])


def test_indexed_holds_the_ids_and_shows_the_colours(predictor: Predictor) -> None:
    image = predictor.indexed(photo())
    mask = predictor.mask(photo())
    assert np.array_equal(np.asarray(image), mask)
    assert np.array_equal(np.asarray(image.convert("RGB")), np.array(predictor.card.palette)[mask])


def test_a_model_in_training_mode_predicts_in_evaluation_mode_and_leaves_no_graph(model: Path) -> None:
    segmenter, card = load_model(model)
    predictor = Predictor(segmenter.train(), card, "cpu")
    assert not predictor.segmenter.training
    assert not predictor.scores(photo()).requires_grad


def test_a_change_detector_takes_two_frames_of_one_size(change_model: Path) -> None:
    predictor = Predictor.load(change_model, "cpu")
    before, after = photo(), photo()[::-1].copy()
    assert predictor.mask((before, after)).shape == (45, 61)
    assert np.array_equal(np.asarray(predictor.overlay((before, after), alpha=0.0)), after)
    with pytest.raises(DataError, match="1 pictures for a model of 2 frames"):
        predictor.mask(before)
    with pytest.raises(DataError, match="frames of different sizes: 61 x 45, 61 x 44"):
        predictor.mask((before, after[1:]))


def test_two_pictures_are_too_many_for_one_frame(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="pass one picture"):
        predictor.mask((photo(), photo()))


@pytest.mark.parametrize(
    "array", [photo().astype(np.float32), photo()[..., 0], photo()[..., :2], photo()[:0]], ids=lambda a: str(a.shape)
)
def test_arrays_that_are_no_rgb_picture_are_refused(predictor: Predictor, array: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="expected: an RGB picture"):
        predictor.mask(array)


def test_a_file_that_is_no_picture_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"page\.jpg"):
        predictor.mask(tmp_path / "page.jpg")


def test_loading_says_what_is_wrong_with_a_directory_or_a_device(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        Predictor.load(tmp_path)
    with pytest.raises(ConfigError, match="device"):
        Predictor.load(model, "toaster")


def test_a_loaded_model_scores_as_the_one_that_was_saved(predictor: Predictor) -> None:
    original = build_segmenter(predictor.segmenter.config, 3).eval()
    images = original.normalize(torch.from_numpy(photo(40, 56)).movedim(-1, 0)[None, None])
    with torch.inference_mode():
        expected = original(images)[0]
    torch.testing.assert_close(predictor.scores(photo(40, 56)), expected)
