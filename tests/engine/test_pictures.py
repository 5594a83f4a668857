from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.palette import default_palette
from semiseg.engine.pictures import (
    FALSE_ALARM,
    MISSED,
    PictureRow,
    colourise,
    indexed_image,
    overlay,
    sample_sheet,
    save_picture,
)
from semiseg.errors import FileError


def random_row(rng: np.random.Generator, height: int = 30, width: int = 40) -> PictureRow:
    mask = rng.integers(0, 3, (height, width), dtype=np.uint8)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    confidence = np.ones((height, width), np.float32)
    return PictureRow(title="a", frames=(image,), truth_HW=mask, prediction_HW=mask, confidence_HW=confidence)


def pixels(sheet: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(sheet)


def share_of(sheet: Image.Image, colour: tuple[int, int, int]) -> float:
    return float((pixels(sheet) == colour).all(axis=-1).mean())


def test_a_palette_is_the_beginning_of_a_longer_one_and_all_colours_can_be_told_apart() -> None:
    palette = default_palette(150)
    assert palette[:21] == default_palette(21)
    distances = np.abs(np.array(palette)[:, None].astype(int) - np.array(palette)[None]).sum(-1)
    assert distances[~np.eye(150, dtype=bool)].min() >= 20
    assert min(sum(colour) for colour in palette) > 60, "too near to black, which means ignored"
    assert len(set(default_palette(256))) == 256


def test_colourise_draws_ignored_pixels_and_unknown_ids_black() -> None:
    mask = np.array([[0, 1, 2, 255, 7]], np.uint8)
    drawn = colourise(mask, [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    assert drawn.tolist() == [[[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0], [0, 0, 0]]]
    assert colourise(mask, [(1, 2, 3), (4, 5, 6)], ignore_value=0)[0, 0].tolist() == [0, 0, 0]


def test_overlay_tints_classes_and_leaves_ignored_pixels_as_they_are() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    tinted = overlay(image, np.array([[0, 255, 9]], np.uint8), [(200, 0, 100)], alpha=0.5)
    assert tinted.tolist() == [[[150, 50, 100], [100, 100, 100], [100, 100, 100]]]


@pytest.mark.parametrize("classes", [1, 2, 17, 255])
def test_an_indexed_image_keeps_the_ids_with_eight_bits_a_pixel(tmp_path: Path, classes: int) -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32) % classes
    path = tmp_path / "mask.png"
    save_picture(indexed_image(mask, default_palette(classes)), path)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), mask)
        assert np.array_equal(np.asarray(image.convert("RGB")), colourise(mask, default_palette(classes)))
    assert path.read_bytes()[24] == 8, "bit depth in the header"


def test_a_picture_that_cannot_be_written_leaves_the_old_one_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "sheet.jpg"
    save_picture(Image.new("RGB", (4, 4)), path)
    before = path.read_bytes()
    with pytest.raises(FileError, match="RGBA"):
        save_picture(Image.new("RGBA", (4, 4)), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.jpg"]


def test_a_sheet_shows_truth_and_prediction_in_their_colours() -> None:
    palette = default_palette(3)
    sheet = sample_sheet([random_row(np.random.default_rng(0))], ["a", "b", "c"], palette, cell_width=40)
    # The cells have the size of the image, so each of three columns shows each class on about a third of its pixels.
    for colour in palette:
        assert share_of(sheet, colour) * sheet.width * sheet.height > 3 * 30 * 40 / 3 * 0.8


def test_pixels_below_the_threshold_are_greyed_in_the_pseudo_label_only() -> None:
    mask = np.zeros((30, 40), np.uint8)
    palette = ((200, 30, 30),)
    image = np.zeros((30, 40, 3), np.uint8)
    sure, unsure = (
        PictureRow(title="", frames=(image,), prediction_HW=mask, confidence_HW=np.full((30, 40), level, np.float32))
        for level in (0.95, 0.94)
    )
    shown = [share_of(sample_sheet([row], ["a"], palette, cell_width=40), palette[0]) for row in (sure, unsure)]
    sheet = sample_sheet([unsure], ["a"], palette, cell_width=40)
    assert (shown[0] - shown[1]) * sheet.width * sheet.height == pytest.approx(30 * 40)
    grey = [colour for count, colour in sheet.getcolors(100_000) or [] if count == 30 * 40 and colour != (0, 0, 0)]
    red_ish = [colour for colour in grey if colour not in palette]
    assert len(red_ish) == 1
    red, green, blue = red_ish[0]
    assert 0 < red - green < 40
    assert abs(green - blue) < 10


def test_columns_that_no_row_fills_are_left_out() -> None:
    rng = np.random.default_rng(0)
    full = random_row(rng)
    bare = PictureRow(title="b", frames=full.frames, prediction_HW=full.prediction_HW)
    widths = [sample_sheet(rows, ["a"], default_palette(1)).width for rows in ([full], [bare], [full, bare])]
    assert widths[0] == widths[2]
    assert widths[0] - widths[1] == 2 * (288 + 12)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 900), (900, 1), (256, 256)])
def test_a_sheet_takes_images_of_any_shape(height: int, width: int) -> None:
    row = random_row(np.random.default_rng(0), height, width)
    sheet = sample_sheet([row, random_row(np.random.default_rng(1))], ["a", "b", "c"], default_palette(3))
    assert sheet.height < 1200


def test_long_titles_and_many_classes_stay_within_the_sheet() -> None:
    row = random_row(np.random.default_rng(0))
    wild = PictureRow(title="x\n\x1b[31m" * 200, frames=row.frames, prediction_HW=row.prediction_HW)
    few = sample_sheet([wild], ["a"], default_palette(1))
    many = sample_sheet([wild], [f"class {index} " * 3 for index in range(150)], default_palette(150))
    assert many.width == few.width
    assert many.height > few.height + 10 * 22, "the legend takes further lines"
    border = pixels(many)[:, -20:]
    assert (border == 255).all(), "nothing is drawn into the margin"


# Pairs


def pair_row(truth: NDArray[np.uint8] | None, prediction: NDArray[np.uint8]) -> PictureRow:
    before, after = np.full((*prediction.shape, 3), 10, np.uint8), np.full((*prediction.shape, 3), 240, np.uint8)
    return PictureRow(title="p", frames=(before, after), truth_HW=truth, prediction_HW=prediction)


def test_a_pair_is_drawn_before_and_after_with_missed_and_false_changes() -> None:
    truth = np.zeros((40, 40), np.uint8)
    prediction = truth.copy()
    truth[:20, :20] = 1  # a quarter is missed,
    prediction[20:, 20:] = 1  # a quarter is false
    palette = ((60, 60, 70), (90, 200, 250))
    sheet = sample_sheet([pair_row(truth, prediction)], ("unchanged", "changed"), palette, mistakes=True)
    cell = 288 * 288
    for colour in (MISSED, FALSE_ALARM):
        assert share_of(sheet, colour) * sheet.width * sheet.height == pytest.approx(cell / 4, rel=0.02)
    for shade in (10, 240):
        assert share_of(sheet, (shade, shade, shade)) * sheet.width * sheet.height >= cell * 0.98
    plain = sample_sheet([pair_row(truth, prediction)], ("unchanged", "changed"), palette)
    assert share_of(plain, MISSED) == share_of(plain, FALSE_ALARM) == 0


def test_a_pair_without_a_mask_shows_no_mistakes() -> None:
    prediction = np.ones((40, 40), np.uint8)
    sheet = sample_sheet([pair_row(None, prediction)], ("a", "b"), ((0, 0, 9), (0, 0, 200)), mistakes=True)
    assert share_of(sheet, FALSE_ALARM) * sheet.width * sheet.height < 300, "the legend alone"
