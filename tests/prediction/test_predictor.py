from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from semiseg.errors import ConfigError, DataError, ModelError
from semiseg.models import build_segmenter, load_model
from semiseg.prediction import Predictor

Protocol = Literal["original", "sliding"]
PeakBytes = Callable[[Callable[[], object]], int]


def photo(height: int = 45, width: int = 61, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


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
    for picture in (Image.fromarray(array), tmp_path / "photo.png", str(tmp_path / "photo.png")):
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
    assert predictor.mask(before, after).shape == (45, 61)
    assert np.array_equal(np.asarray(predictor.overlay(before, after, alpha=0.0)), after)
    with pytest.raises(DataError, match="1 pictures for a model of 2 frames"):
        predictor.mask(before)
    with pytest.raises(DataError, match="frames of different sizes: 61 x 45, 61 x 44"):
        predictor.mask(before, after[1:])


def test_two_pictures_are_too_many_for_one_frame(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="pass one picture"):
        predictor.mask(photo(), photo())


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


# Large pictures, in tiles


class Pointwise(nn.Module):
    """A stub whose logits are a function of the pixel alone, and an offset of the tile common to all classes."""

    patch, num_classes = 1, 3

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset, self.calls = offset, 0

    def normalize(self, images_BTCHW: Tensor) -> Tensor:
        return images_BTCHW.float() / 255

    def forward(self, images_BTCHW: Tensor) -> Tensor:
        self.calls += 1
        frames = images_BTCHW.unbind(1)
        fused = frames[0] if len(frames) == 1 else (frames[0] - frames[1]).abs()
        untied = torch.arange(3).view(3, 1, 1) / 1000
        return 5 * fused + untied + self.offset * self.calls


class Biased(Pointwise):
    """A stub that prefers the first class in every other tile, whatever it sees."""

    def forward(self, images_BTCHW: Tensor) -> Tensor:
        logits = torch.zeros_like(images_BTCHW[:, 0])
        self.calls += 1
        logits[:, 0] = 2.0 * (self.calls % 2)
        return logits


def stub(
    predictor: Predictor, segmenter: Any, protocol: Protocol = "original", frames: int = 1, crop: int = 16
) -> Predictor:
    return Predictor(segmenter, replace(predictor.card, protocol=protocol, crop=crop, frames=frames), "cpu")


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("protocol", ["original", "sliding"])
@pytest.mark.parametrize("size", [(130, 90), (33, 200), (200, 33), (97, 20)])
def test_a_picture_in_tiles_is_predicted_as_in_one_piece(
    predictor: Predictor, protocol: Protocol, frames: int, size: tuple[int, int]
) -> None:
    model = stub(predictor, Pointwise(), protocol, frames)
    pictures = [photo(*size, seed) for seed in range(frames)]
    whole, tiled = model.scores(*pictures), model.scores(*pictures, tile=32)
    expected = whole.softmax(0) if protocol == "original" or min(size) < 16 else whole / whole.sum(0)
    torch.testing.assert_close(tiled, expected)
    assert np.array_equal(model.mask(*pictures, tile=32), model.mask(*pictures))


@pytest.mark.parametrize("offset", [3.0, -100.0])
def test_a_shift_of_all_logits_of_a_tile_leaves_no_trace(predictor: Predictor, offset: float) -> None:
    picture = photo(130, 90)
    shifted = stub(predictor, Pointwise(offset))
    torch.testing.assert_close(
        shifted.scores(picture, tile=32), stub(predictor, Pointwise()).scores(picture, tile=32), atol=1e-4, rtol=1e-4
    )
    assert shifted.segmenter.calls == 24


def test_tiles_that_disagree_leave_no_seam(predictor: Predictor) -> None:
    scores = stub(predictor, Biased()).scores(photo(150, 150), tile=32)
    step = scores[0].max() - scores[0].min()
    assert step > 0.3, "the tiles do disagree"
    for axis in (1, 2):
        assert scores.diff(dim=axis).abs().max() < step / 8, "a quarter of the tile shares the step out"


def test_scores_of_tiles_are_probabilities_whose_largest_is_the_mask(change_model: Path) -> None:
    model = Predictor.load(change_model, "cpu")
    pictures = photo(130, 95), photo(130, 95, seed=1)
    scores = model.scores(*pictures, tile=56)
    assert scores.shape == (3, 130, 95)
    torch.testing.assert_close(scores.sum(0), torch.ones(130, 95))
    assert np.array_equal(model.mask(*pictures, tile=56), scores.argmax(0).numpy())


def test_a_picture_as_large_as_a_tile_is_seen_whole(predictor: Predictor) -> None:
    whole = predictor.scores(photo(50, 61))
    assert torch.equal(predictor.scores(photo(50, 61), tile=61), whole)
    assert not torch.equal(predictor.scores(photo(50, 61), tile=60), whole)


def test_the_default_tile_leaves_cityscapes_as_it_is_evaluated(predictor: Predictor) -> None:
    assert stub(predictor, Pointwise()).inference().tile == 1024
    assert stub(predictor, Pointwise(), "sliding").inference().tile == 2048
    assert predictor.inference(60).tile == 60


def test_a_tile_smaller_than_a_patch_is_refused(predictor: Predictor) -> None:
    patch = predictor.segmenter.patch
    assert predictor.mask(photo(20, 17), tile=patch).shape == (20, 17)
    with pytest.raises(ConfigError, match="smaller than a patch"):
        predictor.mask(photo(20, 17), tile=patch - 1)


def peak(model: Predictor, size: tuple[int, int], tile: int, peak_bytes: PeakBytes) -> int:
    pictures = [photo(*size, seed) for seed in range(model.card.frames)]
    return peak_bytes(lambda: model.mask(*pictures, tile=tile))


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("protocol", ["original", "sliding"])
def test_the_memory_of_scores_is_that_of_a_tile_and_a_band(
    predictor: Predictor, protocol: Protocol, frames: int, peak_bytes: PeakBytes
) -> None:
    model, classes, tile = stub(predictor, Pointwise(), protocol, frames, crop=48), 3, 64
    held = peak(model, (600, 600), tile, peak_bytes)
    assert held < 0.3 * 4 * classes * 600 * 600
    assert peak(model, (1200, 600), tile, peak_bytes) <= held, "the height costs nothing"
    wider = peak(model, (600, 1200), tile, peak_bytes) - held
    assert wider < 1.4 * 4 * classes * (tile // 4) * 600, "the width costs the overlap with the next row of tiles"
    assert peak(model, (600, 600), 600, peak_bytes) > 4 * classes * 600 * 600, (
        "the measure sees the scores of a whole picture"
    )
