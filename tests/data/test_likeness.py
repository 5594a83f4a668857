from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from semiseg.data.likeness import ALIKE, Print, alike, picture_print
from semiseg.data.scenes.drawing import draw_scene


def bits(one: Print, other: Print) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


def scene(index: int, size: int = 128) -> Image.Image:
    return Image.fromarray(draw_scene(0, index, size).image_HW3)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=quality)
    return Image.open(packed)


@pytest.mark.parametrize("index", range(4))
def test_a_picture_saved_again_or_scaled_is_alike(index: int) -> None:
    image = scene(index)
    print_ = picture_print(image)
    versions = [
        jpeg(image, 60),
        image.resize((96, 96)),
        image.resize((700, 700), Image.Resampling.BICUBIC),
        ImageEnhance.Brightness(image).enhance(1.1),
    ]
    assert max(bits(print_, picture_print(version)) for version in versions) <= ALIKE


def test_other_pictures_are_not_alike() -> None:
    prints = [picture_print(scene(index)) for index in range(12)]
    assert min(bits(one, other) for one, other in combinations(prints, 2)) > ALIKE
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert bits(*(picture_print(Image.fromarray(image)) for image in noise)) > 40


def test_pictures_without_contrast_are_like_nothing() -> None:
    dark = picture_print(Image.new("RGB", (64, 64), (3, 3, 3)))
    assert dark == (0, 0)
    assert list(alike({"a": dark}, {"b": dark})) == []


def test_alike_pictures_are_found_across_two_sets_of_any_size() -> None:
    rng = np.random.default_rng(1)
    ones = {str(index): (int(words[0]), int(words[1])) for index, words in enumerate(rng.integers(1, 2**63, (2500, 2)))}
    others = {
        "near": (ones["2100"][0] ^ 0b111, ones["2100"][1] ^ 0b111),
        "far": (ones["7"][0] ^ 0b1111111, ones["7"][1]),
    }
    assert list(alike(ones, others)) == [("2100", "near")]
    assert list(alike({}, others)) == []
    assert list(alike(ones | {"twin": ones["7"]}, {"a": ones["7"], "b": ones["2100"]})) == [("7", "a"), ("2100", "b")]


def test_pairs_are_alike_if_both_of_their_pictures_are() -> None:
    one, two, three = (picture_print(scene(index)) for index in range(3))
    assert list(alike({"a": one + two}, {"b": one + two, "c": one + three, "d": two + one})) == [("a", "b")]


def test_real_neighbours_of_a_video_are_less_alike_than_copies(camvid_root: Path) -> None:
    paths = sorted((camvid_root / "images").glob("*/*"))[:60:10]
    prints = [picture_print(Image.open(path)) for path in paths]
    copies = [picture_print(jpeg(Image.open(path), 50)) for path in paths]
    assert max(bits(one, copy) for one, copy in zip(prints, copies, strict=True)) <= ALIKE
    assert min(bits(one, other) for one, other in combinations(prints, 2)) > ALIKE
