from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.geometry import Geometry, crop_image, crop_mask, draw_geometry, padding

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90)) | st.sampled_from([(1, 1), (1, 300), (300, 1), (2, 90)])


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, int], Geometry]:
    size = draw(SIZES)
    crop, seed = draw(st.integers(1, 48)), draw(st.integers(0, 1000))
    return size, draw_geometry(np.random.default_rng(seed), size, crop, draw(st.sampled_from([(0.5, 2.0), (1.0, 1.0)])))


def smooth(width: int, height: int) -> NDArray[np.uint8]:
    """Return noise without single-pixel detail."""
    noise = np.random.default_rng(width * 1000 + height).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def resized_then_cropped(image: Image.Image, geometry: Geometry, resample: Image.Resampling) -> NDArray[np.uint8]:
    """Do what `crop_image` does in the plain way: resize all of it, then cut, pad and flip."""
    (x, y), crop = geometry.corner, geometry.crop
    whole = np.asarray(image.resize(geometry.resized, resample))
    cut = whole[y : y + crop, x : x + crop]
    canvas = np.zeros((crop, crop, *cut.shape[2:]), dtype=np.uint8)
    canvas[: cut.shape[0], : cut.shape[1]] = cut
    return canvas[:, ::-1] if geometry.flip else canvas


@settings(max_examples=200, deadline=None)
@given(geometries())
def test_the_crop_of_an_image_is_that_of_the_whole_image_resized(case: tuple[tuple[int, int], Geometry]) -> None:
    (width, height), geometry = case
    image = Image.fromarray(smooth(width, height))
    wanted = resized_then_cropped(image, geometry, Image.Resampling.BILINEAR)
    assert np.abs(crop_image(image, geometry).astype(int) - wanted).max() <= 2


@settings(max_examples=200, deadline=None)
@given(geometries())
def test_the_crop_of_a_mask_is_that_of_the_whole_mask_resized(case: tuple[tuple[int, int], Geometry]) -> None:
    (width, height), geometry = case
    ids = np.random.default_rng(0).integers(1, 256, (height, width), dtype=np.uint8)
    wanted = resized_then_cropped(Image.fromarray(ids), geometry, Image.Resampling.NEAREST)
    found = crop_mask(ids, geometry, fill=0)
    assert set(np.unique(found)) <= {0, *np.unique(ids)}
    assert np.array_equal(np.where(on_borders(width, height, geometry), 0, found != wanted), np.zeros(found.shape))


def on_borders(width: int, height: int, geometry: Geometry) -> NDArray[np.bool_]:
    """Return where the middle of a crop's pixel falls on the border of two of the mask: rounding may choose either."""
    near = []
    for side, resized, corner in zip((width, height), geometry.resized, geometry.corner, strict=True):
        middle = (np.arange(corner, corner + geometry.crop) + 0.5) * side / resized
        near.append(np.abs(middle - np.round(middle)) < 0.005)
    columns = near[0][::-1] if geometry.flip else near[0]
    return near[1][:, None] | columns[None]


def test_a_mask_at_its_own_size_is_cut_exactly() -> None:
    ids = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    assert np.array_equal(crop_mask(ids, Geometry((70, 50), (11, 7), 32, flip=False), fill=0), ids[7:39, 11:43])
    assert np.array_equal(crop_mask(ids, Geometry((70, 50), (11, 7), 32, flip=True), fill=0), ids[7:39, 42:10:-1])


def blocks(width: int, height: int) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 3 :, width // 4 : width // 2] = 1
    mask[: height // 2, width // 2 :] = 1
    return mask


def painted(mask: NDArray[np.uint8]) -> Image.Image:
    """Return the picture of a mask: white where it is 1."""
    return Image.fromarray(np.repeat(mask[..., None] * 255, 3, axis=2))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(64, 96), (96, 64), (40, 200), (30, 30)]))
def test_image_and_mask_show_the_same_place(seed: int, size: tuple[int, int]) -> None:
    mask = blocks(*size)
    geometry = draw_geometry(np.random.default_rng(seed), size, 48, (0.5, 2.0))
    pixels, ids = crop_image(painted(mask), geometry)[..., 0], crop_mask(mask, geometry, fill=255)
    inside = ~padding(geometry)
    black, white = inside & (pixels < 16), inside & (pixels > 239)  # the rest are the blurred edges
    assert (ids[black] == 0).all()
    assert (ids[white] == 1).all()
    assert np.mean((black | white)[inside]) > 0.6


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [False, True])
def test_image_and_mask_agree_to_the_pixel_at_whole_scales(scale: int, flip: bool, rows: bool) -> None:
    place = np.indices((30, 40), dtype=np.uint8)[0 if rows else 1]
    stripes = (place // 3 % 2).astype(np.uint8)
    geometry = Geometry((40 * scale, 30 * scale), (5, 3), 24 * scale, flip)
    pixels, ids = crop_image(painted(stripes), geometry)[..., 0], crop_mask(stripes, geometry, fill=255)
    assert 0.4 < ids.mean() < 0.6
    assert np.array_equal(pixels > 127, ids == 1)


@settings(max_examples=300, deadline=None)
@given(geometries())
def test_padding_marks_exactly_what_is_filled_also_when_flipped(case: tuple[tuple[int, int], Geometry]) -> None:
    (width, height), geometry = case
    ignored = padding(geometry)
    assert ignored.dtype == np.bool_
    assert np.array_equal(crop_mask(np.zeros((height, width), np.uint8), geometry, fill=255) == 255, ignored)
    white = crop_image(Image.new("RGB", (width, height), "white"), geometry)
    assert np.array_equal((white == 0).all(axis=2), ignored)
    assert np.array_equal((white == 255).all(axis=2), ~ignored)


@settings(max_examples=200, deadline=None)
@given(geometries())
def test_crops_have_one_shape_and_lie_in_one_piece(case: tuple[tuple[int, int], Geometry]) -> None:
    (width, height), geometry = case
    pixels = crop_image(Image.new("RGB", (width, height)), geometry)
    ids = crop_mask(np.zeros((height, width), np.uint8), geometry, fill=255)
    assert pixels.shape == (geometry.crop, geometry.crop, 3)
    assert ids.shape == padding(geometry).shape == (geometry.crop, geometry.crop)
    for array in (pixels, ids):
        assert array.dtype == np.uint8
        assert array.flags.c_contiguous


@pytest.mark.parametrize("flip", [False, True])
def test_a_small_image_is_padded_at_the_right_and_the_bottom_before_the_flip(flip: bool) -> None:
    shown = ~padding(Geometry((5, 3), (0, 0), 8, flip))
    assert shown[:3].sum(axis=1).tolist() == [5, 5, 5]
    assert not shown[3:].any()
    assert shown[0].tolist() == ([False] * 3 + [True] * 5 if flip else [True] * 5 + [False] * 3)


@settings(max_examples=300, deadline=None)
@given(SIZES, st.integers(0, 1_000_000), st.integers(1, 64), st.floats(0.1, 1.0), st.floats(1.0, 3.0))
def test_a_drawn_crop_lies_in_the_resized_image(
    size: tuple[int, int], seed: int, crop: int, smallest: float, largest: float
) -> None:
    geometry = draw_geometry(np.random.default_rng(seed), size, crop, (smallest, largest))
    long_side, drawn = max(size), max(geometry.resized)
    assert max(1, int(long_side * smallest)) <= drawn <= int(long_side * largest)
    for side, resized, corner in zip(size, geometry.resized, geometry.corner, strict=True):
        assert abs(resized - side * drawn / long_side) <= 0.5 or resized == 1
        assert 0 <= corner <= max(0, resized - crop)


def test_the_long_side_takes_every_length_of_its_range_alike() -> None:
    rng = np.random.default_rng(0)
    lengths = [draw_geometry(rng, (20, 10), 8, (0.5, 2.0)).resized[0] for _ in range(6200)]
    counts = np.bincount(lengths)
    assert np.flatnonzero(counts).tolist() == list(range(10, 41))  # 0.5 and 2 times 20 included
    assert counts[10:].min() > 140  # 200 each are expected, with a standard deviation of 14
    assert counts[10:].max() < 260


def test_corners_and_flips_are_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_geometry(rng, (12, 10), 8, (1.0, 1.0)) for _ in range(3000)]
    assert {geometry.corner for geometry in drawn} == {(x, y) for x in range(5) for y in range(3)}
    corners = np.bincount([geometry.corner[0] * 3 + geometry.corner[1] for geometry in drawn])
    assert corners.min() > 140  # 200 each are expected
    assert 0.46 < np.mean([geometry.flip for geometry in drawn]) < 0.54


def test_the_scale_keeps_the_shape_of_portrait_and_landscape() -> None:
    rng = np.random.default_rng(1)
    for size in ((300, 200), (200, 300), (250, 250)):
        width, height = draw_geometry(rng, size, 64, (0.5, 2.0)).resized
        assert width / height == pytest.approx(size[0] / size[1], rel=0.01)


def test_draws_do_not_depend_on_the_pixels_or_on_earlier_calls() -> None:
    first, again = (draw_geometry(np.random.default_rng(5), (64, 48), 32, (0.5, 2.0)) for _ in range(2))
    assert first == again
    assert first != draw_geometry(np.random.default_rng(6), (64, 48), 32, (0.5, 2.0))
