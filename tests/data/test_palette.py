from __future__ import annotations

import itertools

import numpy as np
import pytest

from semiseg.data.palette import IGNORED, default_palette


def distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    return float(np.linalg.norm(np.subtract(one, other)))


@pytest.mark.parametrize("count", [0, 1, 2, 14, 15, 150, 256])
def test_there_is_one_colour_of_bytes_for_each_class(count: int) -> None:
    palette = default_palette(count)
    assert len(palette) == len(set(palette)) == count
    assert all(isinstance(part, int) and 0 <= part <= 255 for colour in palette for part in colour)


def test_more_classes_leave_the_colours_of_the_first_ones_as_they_are() -> None:
    longest = default_palette(60)
    assert all(default_palette(count) == longest[:count] for count in range(60))


def test_colours_are_far_apart_and_far_from_ignored_pixels() -> None:
    palette = default_palette(21)
    assert min(distance(one, other) for one, other in itertools.combinations(palette, 2)) > 25
    assert min(distance(colour, IGNORED) for colour in default_palette(256)) > 60
