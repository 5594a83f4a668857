"""Draw a scene, or a pair of dates of one place, from a seed and a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiseg.data.scenes.layout import House, draw_place, footprint
from semiseg.data.scenes.light import draw_light, drift
from semiseg.data.scenes.painting import paint, paint_under
from semiseg.seeding import rng

CLASSES: tuple[str, ...] = ("grass", "forest", "water", "field", "road", "building")
"""Class names; the position is the id in the masks."""

PALETTE: tuple[tuple[int, int, int], ...] = (
    (151, 196, 104),
    (45, 106, 58),
    (66, 133, 199),
    (233, 205, 126),
    (112, 112, 122),
    (206, 74, 62),
)
"""One RGB colour per class, for pictures of masks."""


_DRIFT = 0.4
"""How far the light of a pair's second date lies from the first's. At 1, any two films, a small network from random
weights finds no change within the minutes of a demo (measured: labeled-only 16, UniMatch V2 0 % changed IoU)."""


@dataclass(frozen=True)
class Scene:
    """A picture and its mask.

    Attributes:
        image_HW3: uint8 RGB.
        mask_HW: uint8 class ids, exact at every pixel; no pixel is ignored.
    """

    image_HW3: NDArray[np.uint8]
    mask_HW: NDArray[np.uint8]


@dataclass(frozen=True)
class ScenePair:
    """The same place on two dates, and where houses were built or torn down between them.

    Attributes:
        before_HW3: uint8 RGB of the first date.
        after_HW3: uint8 RGB of the second date: other light and noise, which are no change.
        change_HW: uint8, 1 where a house stands on one date only, else 0.
    """

    before_HW3: NDArray[np.uint8]
    after_HW3: NDArray[np.uint8]
    change_HW: NDArray[np.uint8]


def draw_scene(seed: int, index: int, size: int = 128) -> Scene:
    """Draw scene number `index` of the endless series that belongs to `seed`.

    Args:
        seed: names the series, >= 0.
        index: number of the scene in the series, >= 0.
        size: side of the square picture in pixels, >= 64. Houses keep their size; a larger picture shows more land.
    """
    place = draw_place(rng(seed, "scene", index, 0), size)
    return Scene(paint(place, place.houses, rng(seed, "scene", index, 1)), place.mask())


def draw_pair(seed: int, index: int, size: int = 128) -> ScenePair:
    """Draw pair number `index` of the series of change-detection pairs that belongs to `seed`; see `draw_scene`."""
    place = draw_place(rng(seed, "scene pair", index, 0), size)
    before, after = _two_dates(place.houses, rng(seed, "scene pair", index, 1))
    change = footprint(before, size) != footprint(after, size)
    first, second = (rng(seed, "scene pair", index, counter) for counter in (2, 3))
    light = draw_light(first)
    later = drift(light, draw_light(second), _DRIFT)
    pictures = [
        # The same generator twice: the land looks the same on both dates but for its light.
        paint_under(seen, place, houses, season=rng(seed, "scene pair", index, 4), rng=draws)
        for seen, houses, draws in ((light, before, first), (later, after, second))
    ]
    return ScenePair(pictures[0], pictures[1], change.astype(np.uint8))


def _two_dates(houses: tuple[House, ...], draws: np.random.Generator) -> tuple[tuple[House, ...], tuple[House, ...]]:
    """Choose who stands when: 40 % on both dates, 40 % new, 20 % torn down; in every eighth pair nothing changes."""
    if draws.random() < 1 / 8:
        return houses, houses
    fate = draws.choice(["stays", "new", "gone"], p=[0.4, 0.4, 0.2], size=len(houses))
    before = tuple(house for house, f in zip(houses, fate, strict=True) if f != "new")
    after = tuple(house for house, f in zip(houses, fate, strict=True) if f != "gone")
    return before, after
