"""Drawing that training, prediction and reports share: coloured masks, overlays and the sheet of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from semiseg.data.palette import IGNORED, Colour
from semiseg.files import whole_file

_INK: Colour = (38, 40, 46)
_QUIET_INK: Colour = (112, 116, 126)
_PAPER: Colour = (255, 255, 255)
_EMPTY_CELL: Colour = (240, 241, 244)
MISSED: Colour = (222, 60, 75)
FALSE_ALARM: Colour = (245, 166, 35)
"""How a change is drawn that was not found, and one that was found where there is none."""
_MARGIN, _GAP, _LINE, _SWATCH = 24, 12, 22, 14
"""Sizes in pixels: the border of the sheet, the space between pictures, a line of text, a colour of the legend."""
_TALLEST_CELL = 1.5
"""Height of a cell over its width; a taller image is drawn narrower instead."""


def colourise(mask_HW: NDArray[np.uint8], palette: Sequence[Colour], ignore_value: int = 255) -> NDArray[np.uint8]:
    """Return the mask in its colours, (H, W, 3) uint8; ignored pixels and ids without a colour are black."""
    return _lookup(palette, ignore_value)[mask_HW]


def _lookup(palette: Sequence[Colour], ignore_value: int) -> NDArray[np.uint8]:
    table = np.full((256, 3), IGNORED, dtype=np.uint8)
    if palette:
        table[: len(palette)] = np.asarray(palette, dtype=np.uint8)
    if 0 <= ignore_value < 256:
        table[ignore_value] = IGNORED
    return table


def overlay(
    image_HW3: NDArray[np.uint8],
    mask_HW: NDArray[np.uint8],
    palette: Sequence[Colour],
    alpha: float = 0.5,
    ignore_value: int = 255,
) -> NDArray[np.uint8]:
    """Return the image tinted with the colours of its mask, (H, W, 3) uint8.

    Args:
        image_HW3: uint8 RGB.
        mask_HW: class ids of the same size.
        palette: one colour per class.
        alpha: weight of the colour, 0 (image only) to 1 (mask only).
        ignore_value: the id of pixels without a class; they, and ids without a colour, show the image untouched.
    """
    colours = colourise(mask_HW, palette, ignore_value)
    tinted = (image_HW3 * (1 - alpha) + colours * alpha).round().astype(np.uint8)
    has_class = (mask_HW < len(palette)) & (mask_HW != ignore_value)
    return np.where(has_class[..., None], tinted, image_HW3)


def indexed_image(mask_HW: NDArray[np.uint8], palette: Sequence[Colour]) -> Image.Image:
    """Return the mask as a palette image: its pixels are class ids, and viewers show the colours."""
    image = Image.fromarray(np.ascontiguousarray(mask_HW))
    # All 256 entries, or Pillow would pack few classes into 1, 2 or 4 bits a pixel, which some readers do not unpack.
    image.putpalette(_lookup(palette, ignore_value=-1).tobytes())
    return image


def save_picture(image: Image.Image, path: Path, **options: Any) -> None:
    """Write `image` to `path` so that no reader, and no killed process, ever leaves half a file there.

    Args:
        image: what to write.
        path: its suffix names the format; missing folders are made.
        options: passed on to `PIL.Image.Image.save`.

    Raises:
        FileError: it cannot be written.
    """
    with whole_file(path) as draft:
        image.save(draft, format=Image.registered_extensions()[path.suffix.lower()], **options)


@dataclass(frozen=True, kw_only=True)
class PictureRow:
    """One image of a sample sheet and what is known of it; all maps have the size of the image."""

    title: str
    """What to print above the row, usually the sample's id."""
    frames: tuple[NDArray[np.uint8], ...]
    """The image, or the two of a pair: each (H, W, 3), RGB, 0 to 255."""
    truth_HW: NDArray[np.uint8] | None = None
    """Class ids of the mask; None for an unlabeled image."""
    prediction_HW: NDArray[np.uint8]
    """Class ids, the argmax of the scores."""
    confidence_HW: NDArray[np.float32] | None = None
    """Highest softmax probability of each pixel, 0 to 1; None leaves the pseudo-label out."""
    threshold: float = 0.95
    """Pixels less confident than this take no part in the pseudo-label."""


@dataclass(frozen=True)
class _Colours:
    """How a sheet draws class ids: a colour for each of 256, the id of ignored pixels, and whether mistakes show."""

    table: NDArray[np.uint8]
    ignore_value: int
    mistakes: bool


_FRAME_NAMES = {1: ["image"], 2: ["before", "after"]}
"""The columns of a sample's frames, by their number."""


def sample_sheet(
    rows: Sequence[PictureRow],
    classes: Sequence[str],
    palette: Sequence[Colour],
    *,
    ignore_value: int = 255,
    cell_width: int = 288,
    mistakes: bool = False,
) -> Image.Image:
    """Draw one sheet with the columns image, truth, prediction and pseudo-label, and a legend of the classes below.

    Of a pair, there are the columns before and after. A column that no row has anything for is left out. In the
    pseudo-label, pixels below the threshold are greyed until their class is only just visible.

    Args:
        rows: at least one image.
        classes: class names in the order of their ids.
        palette: one colour per class.
        ignore_value: the id of pixels without a class, drawn black.
        cell_width: width of one picture in pixels.
        mistakes: draw the missed and the false changes of a prediction (class 1) in colours of their own.
    """
    colours = _Colours(_lookup(palette, ignore_value), ignore_value, mistakes)
    columns = [*_FRAME_NAMES[len(rows[0].frames)], "truth", "prediction", "pseudo-label"]
    if all(row.truth_HW is None for row in rows):
        columns.remove("truth")
    if all(row.confidence_HW is None for row in rows):
        columns.remove("pseudo-label")
    width = len(columns) * (cell_width + _GAP) - _GAP
    strips = [_header(columns, cell_width, width)]
    strips += [_row_strip(row, columns, cell_width, colours) for row in rows]
    strips.append(_legend(_legend_entries(classes, palette, mistakes), width))
    return _stack(strips)


@dataclass(frozen=True)
class Cell:
    """One picture of a contact sheet, and what to print below it."""

    picture: Image.Image
    caption: str


def contact_sheet(
    cells: Sequence[Cell], legend: Sequence[tuple[str, Colour]] = (), *, columns: int = 4, cell_width: int = 288
) -> Image.Image:
    """Draw pictures in rows, each above its caption, and a legend of the classes below.

    Args:
        cells: at least one.
        legend: names and colours of classes, perhaps none.
        columns: pictures in a row.
        cell_width: width of a picture in pixels; the first one's proportions give the height of all.
    """
    columns, first = min(columns, len(cells)), cells[0].picture
    height = max(1, round(cell_width * min(first.height / first.width, _TALLEST_CELL)))
    width = columns * (cell_width + _GAP) - _GAP
    strips = []
    for start in range(0, len(cells), columns):
        strip = Image.new("RGB", (width, height + _LINE), _PAPER)
        for column, cell in enumerate(cells[start : start + columns]):
            left = column * (cell_width + _GAP)
            fitted = ImageOps.pad(cell.picture, (cell_width, height), Image.Resampling.LANCZOS, _EMPTY_CELL)
            strip.paste(fitted, (left, 0))
            words = _fitted(cell.caption, cell_width, _font(13))
            ImageDraw.Draw(strip).text((left, height + _LINE // 2), words, fill=_QUIET_INK, font=_font(13), anchor="lm")
        strips.append(strip)
    return _stack([*strips, *([_legend(legend, width)] if legend else [])])


def _stack(strips: Sequence[Image.Image]) -> Image.Image:
    height = sum(strip.height + _GAP for strip in strips) - _GAP
    sheet = Image.new("RGB", (strips[0].width + 2 * _MARGIN, height + 2 * _MARGIN), _PAPER)
    top = _MARGIN
    for strip in strips:
        sheet.paste(strip, (_MARGIN, top))
        top += strip.height + _GAP
    return sheet


def _header(columns: Sequence[str], cell_width: int, width: int) -> Image.Image:
    strip = Image.new("RGB", (width, _LINE), _PAPER)
    draw, font = ImageDraw.Draw(strip), _font(16)
    for index, name in enumerate(columns):
        draw.text((index * (cell_width + _GAP), _LINE // 2), name, fill=_INK, font=font, anchor="lm")
    return strip


def _row_strip(row: PictureRow, columns: Sequence[str], cell_width: int, colours: _Colours) -> Image.Image:
    image_height, image_width = row.frames[0].shape[:2]
    height = max(1, round(cell_width * min(image_height / image_width, _TALLEST_CELL)))
    strip = Image.new("RGB", (len(columns) * (cell_width + _GAP) - _GAP, _LINE + height), _PAPER)
    draw, font = ImageDraw.Draw(strip), _font(13)
    share = _confident_share(row, colours.ignore_value)
    caption = "" if share is None else f"{share:.0%} of the pixels at {row.threshold:g} or more"
    last_left = (len(columns) - 1) * (cell_width + _GAP)
    title_room = strip.width if share is None else last_left - _GAP
    draw.text((0, _LINE // 2), _fitted(row.title, title_room, font), fill=_QUIET_INK, font=font, anchor="lm")
    draw.text((last_left, _LINE // 2), _fitted(caption, cell_width, font), fill=_QUIET_INK, font=font, anchor="lm")
    for index, name in enumerate(columns):
        strip.paste(_cell(row, name, cell_width, height, colours), (index * (cell_width + _GAP), _LINE))
    return strip


def _confident_share(row: PictureRow, ignore_value: int) -> float | None:
    if row.confidence_HW is None:
        return None
    counted = row.prediction_HW != ignore_value
    return float((row.confidence_HW[counted] >= row.threshold).mean()) if counted.any() else 0.0


def _cell(row: PictureRow, column: str, width: int, height: int, colours: _Colours) -> Image.Image:
    """Draw one picture of a row, centred in `width` x `height` where its proportions differ."""
    cell = Image.new("RGB", (width, height), _EMPTY_CELL)
    image_height, image_width = row.frames[0].shape[:2]
    scale = min(width / image_width, height / image_height)
    size = max(1, round(image_width * scale)), max(1, round(image_height * scale))
    picture = _picture(row, column, size, colours)
    if picture is None:
        ImageDraw.Draw(cell).text((width // 2, height // 2), "none", fill=_QUIET_INK, font=_font(13), anchor="mm")
    else:
        cell.paste(picture, ((width - size[0]) // 2, (height - size[1]) // 2))
    return cell


def _picture(row: PictureRow, column: str, size: tuple[int, int], colours: _Colours) -> Image.Image | None:
    """Return the picture of one column at `size` (width, height), or None if the row has nothing for it."""
    names = _FRAME_NAMES[len(row.frames)]
    if column in names:
        frame = np.ascontiguousarray(row.frames[names.index(column)])
        return Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)
    truth = None if row.truth_HW is None else _nearest(row.truth_HW, size)
    if column == "truth":
        return None if truth is None else Image.fromarray(colours.table[truth])
    prediction = _nearest(row.prediction_HW, size)
    drawn = colours.table[prediction]
    if column == "prediction" and colours.mistakes and truth is not None:
        drawn[(truth == 1) & (prediction != 1)] = MISSED
        drawn[(truth == 0) & (prediction == 1)] = FALSE_ALARM
    if column == "pseudo-label":
        if row.confidence_HW is None:
            return None
        unsure = _nearest(row.confidence_HW, size) < row.threshold
        drawn[unsure] = _greyed(drawn[unsure])
    return Image.fromarray(drawn)


def _nearest(map_HW: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize a map to `size` (width, height) by taking the pixel under each centre."""
    rows = ((np.arange(size[1]) + 0.5) * map_HW.shape[0] / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * map_HW.shape[1] / size[0]).astype(int)
    resized: NDArray[Any] = map_HW[rows[:, None], columns[None]]
    return resized


def _greyed(colours_N3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = np.array([198.0, 200.0, 205.0])
    return (0.14 * colours_N3 + 0.86 * grey).round().astype(np.uint8)


def _legend_entries(classes: Sequence[str], palette: Sequence[Colour], mistakes: bool) -> list[tuple[str, Colour]]:
    marks = [("missed change", MISSED), ("false change", FALSE_ALARM)] if mistakes else []
    return [*zip(classes, palette, strict=True), *marks, ("ignored", IGNORED)]


def _legend(named: Sequence[tuple[str, Colour]], width: int) -> Image.Image:
    font = _font(13)
    step = _SWATCH + 6
    entries = [(_fitted(name, width - step, font), colour) for name, colour in named]
    places = []
    left = line = 0
    for name, colour in entries:
        entry_width = step + round(font.getlength(name))
        if left and left + entry_width > width:
            left, line = 0, line + 1
        places.append((left, line * _LINE, name, colour))
        left += entry_width + 18
    strip = Image.new("RGB", (width, (line + 1) * _LINE), _PAPER)
    draw = ImageDraw.Draw(strip)
    for left, top, name, colour in places:
        middle = top + _LINE // 2
        draw.rounded_rectangle((left, middle - 7, left + _SWATCH, middle + 7), radius=3, fill=colour)
        draw.text((left + step, middle), name, fill=_INK, font=font, anchor="lm")
    return strip


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # every wheel of Pillow carries FreeType
    return font


def _fitted(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Return `text` on one line, shortened with an ellipsis to at most `width` pixels."""
    line = "".join(character if character.isprintable() else " " for character in text)
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."
