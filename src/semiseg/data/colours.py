"""Masks whose colours, not values, say what is where: matched with the colours of classes, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.palette import Colour
from semiseg.data.reading import Drawing
from semiseg.errors import DataError

_NONE = 256
"""What the tables hold for a colour of no class; ids and the ignore value are below."""
_SHOWN = 5


@dataclass(frozen=True)
class Key:
    """Which colour stands for what.

    Attributes:
        names: the name of each class, or of what is ignored, by its colour.
        ids: the class id, or the ignore value, of each colour.
        ignore_value: also the value of a palette image that is ignored, if its colour is that of no class.
    """

    names: Mapping[Colour, str]
    ids: Mapping[Colour, int]
    ignore_value: int


@dataclass(frozen=True)
class Matched:
    """A mask by its colours: class ids and the ignore value (H, W), and the pixels of each colour of no class."""

    ids_HW: NDArray[np.uint8]
    unknown: Mapping[Colour, int]


def key_of(classes: Sequence[str], palette: Sequence[Colour], ignored: Colour | None, ignore_value: int) -> Key:
    """Return the key of classes with a colour each, all different, and of the colour to ignore, if there is one."""
    names = dict(zip(palette, classes, strict=True))
    ids = {colour: id_ for id_, colour in enumerate(palette)}
    if ignored is not None:
        names, ids = {ignored: "ignored"} | names, {ignored: ignore_value} | ids
    return Key(names, ids, ignore_value)


def match_colours(drawing: Drawing, key: Key) -> Matched:
    """Find the class of each pixel by its colour."""
    if drawing.palette:
        return _match_indices(drawing, key)
    codes_HW = _codes(drawing.pixels)
    found_HW = _table(tuple(key.ids.items()))[codes_HW]
    unknown_HW = found_HW == _NONE
    unknown: dict[Colour, int] = {}
    if unknown_HW.any():
        codes, counts = np.unique(codes_HW[unknown_HW], return_counts=True)
        unknown = {_colour(code): int(count) for code, count in zip(codes.tolist(), counts.tolist(), strict=True)}
    return Matched(found_HW.astype(np.uint8), unknown)


def colours_in(drawing: Drawing) -> dict[Colour, int]:
    """Return the colours of a mask, and the number of pixels of each."""
    if not drawing.palette:
        codes, counts = np.unique(_codes(drawing.pixels), return_counts=True)
        return {_colour(code): int(count) for code, count in zip(codes.tolist(), counts.tolist(), strict=True)}
    found: dict[Colour, int] = {}
    for value, count in enumerate(np.bincount(drawing.pixels.ravel(), minlength=256).tolist()):
        if count:
            found[drawing.colour(value)] = found.get(drawing.colour(value), 0) + count
    return found


def unknown_colours(unknown: Mapping[Colour, int], key: Key, path: Path, remedy: str) -> DataError:
    """Return the error of a mask with colours of no class: how many pixels each has, and which class is closest."""
    most = sorted(unknown.items(), key=lambda item: -item[1])
    lines = [f"{colour} on {count:,} pixels, closest is {_closest(colour, key)}" for colour, count in most[:_SHOWN]]
    more = f"; and {len(most) - _SHOWN:,} more colours" if len(most) > _SHOWN else ""
    return DataError(f"colours of no class: {'; '.join(lines)}{more}", where=path, remedy=remedy)


def _match_indices(drawing: Drawing, key: Key) -> Matched:
    table = np.zeros(256, dtype=np.uint8)
    unknown: dict[Colour, int] = {}
    for value, count in enumerate(np.bincount(drawing.pixels.ravel(), minlength=256).tolist()):
        if not count:
            continue
        colour = drawing.colour(value)
        if colour in key.ids:
            table[value] = key.ids[colour]
        elif value == key.ignore_value:  # Pascal's border: the ignore value, in a colour of its own
            table[value] = key.ignore_value
        else:
            unknown[colour] = unknown.get(colour, 0) + count
    return Matched(table[drawing.pixels], unknown)


def _codes(pixels_HW3: NDArray[np.uint8]) -> NDArray[np.uint32]:
    wide = pixels_HW3.astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], dtype=np.uint32)


def _colour(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255


@lru_cache(maxsize=2)
def _table(ids: tuple[tuple[Colour, int], ...]) -> NDArray[np.uint16]:
    """Return the id of every colour there is, 32 MB: a look-up takes a tenth of the time of a search."""
    table = np.full(2**24, _NONE, dtype=np.uint16)
    for (red, green, blue), id_ in ids:
        table[red << 16 | green << 8 | blue] = id_
    return table


def _closest(colour: Colour, key: Key) -> str:
    near = min(key.names, key=lambda known: sum((a - b) ** 2 for a, b in zip(colour, known, strict=True)))
    return f"{key.names[near]!r} {near}"
