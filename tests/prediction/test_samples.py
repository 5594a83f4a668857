"""`Predictor.predict`: one sample or many, whatever they are held in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from semiseg.errors import DataError
from semiseg.prediction import Prediction, Predictor


def photo(seed: int = 0, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture).movedim(-1, 0)


def same(found: Any, expected: list[NDArray[np.uint8]]) -> bool:
    return isinstance(found, list) and all(map(np.array_equal, [one.mask_HW for one in found], expected))


def test_one_picture_of_any_kind_gives_one_prediction(predictor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / "a.png")
    kinds = photo(), Image.fromarray(photo()), tmp_path / "a.png", tensor(photo()), tensor(photo()).float() / 255
    for picture in kinds:
        found = predictor.predict(picture)
        assert isinstance(found, Prediction)
        assert np.array_equal(found.mask_HW, predictor.mask(photo()))
        assert np.array_equal(found.picture[:, :], photo())


def test_a_list_and_a_batch_give_a_list(predictor: Predictor) -> None:
    pictures = [photo(0), photo(1)]
    expected = [predictor.mask(picture) for picture in pictures]
    batches = pictures, np.stack(pictures), torch.stack([tensor(picture) for picture in pictures])
    for batch in batches:
        assert same(predictor.predict(batch), expected)
    assert predictor.predict([]) == []
    assert len(predictor.predict([photo(), photo(1, 40, 16)])) == 2, "of any sizes"


def test_a_pair_is_a_tuple_and_pairs_are_a_list_or_a_batch(change: Predictor) -> None:
    pairs = [(photo(0), photo(1)), (photo(2), photo(3))]
    expected = [change.mask(*pair) for pair in pairs]
    one = change.predict(pairs[0])
    assert isinstance(one, Prediction)
    assert np.array_equal(one.mask_HW, expected[0])
    assert same(change.predict(pairs), expected)
    assert same(change.predict(np.stack([np.stack(pair) for pair in pairs])), expected)
    assert isinstance(change.predict(np.stack(pairs[0])), Prediction)
    with pytest.raises(DataError, match="as a tuple"):
        change.predict(list(pairs[0]))


def test_probabilities_are_kept_if_asked_for(predictor: Predictor) -> None:
    assert predictor.predict(photo()).probabilities_KHW is None
    found = predictor.predict([photo()], probabilities=True, tile=16)[0]
    assert found.probabilities_KHW is not None
    assert found.probabilities_KHW.shape == (3, 24, 32)
    assert found.probabilities_KHW.sum(0) == pytest.approx(1)
    assert np.array_equal(found.probabilities_KHW.argmax(0), found.mask_HW)


def test_scales_and_flips_are_options_of_every_method(predictor: Predictor) -> None:
    expected = predictor.predict(photo(), scales=(0.5, 1.0), flip=True).mask_HW
    assert np.array_equal(predictor.mask(photo(), scales=(0.5, 1.0), flip=True), expected)
    scores = predictor.scores(photo(), scales=(0.5, 1.0), flip=True)
    torch.testing.assert_close(scores.sum(0), torch.ones(24, 32))
    assert np.array_equal(scores.argmax(0).numpy(), expected)


@pytest.mark.parametrize(
    "picture",
    [tensor(photo())[:2], tensor(photo()).double(), tensor(photo()).int(), torch.full((3, 8, 8), torch.nan)],
    ids=["two channels", "0 to 255 as floats", "int32", "nan"],
)
def test_tensors_that_are_no_picture_are_refused(predictor: Predictor, picture: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"tensor of .*\n  expected: an RGB picture \(3, H, W\)"):
        predictor.predict(picture)
