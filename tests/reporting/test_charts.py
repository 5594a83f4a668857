from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semiseg.reporting.charts import Line, line_chart, ticks
from semiseg.reporting.templating import render


def plain(value: float) -> str:
    return f"{value:g}"


def drawn(lines: list[Line]) -> ElementTree.Element:
    chart = line_chart("Loss <1>", lines, x_name="step", show=plain)
    return ElementTree.fromstring(render("chart.html", chart=chart))


def coordinates(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_a_handful_of_evenly_spaced_numbers_in_range(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 7
    # No number can be closer to the range than floats lie apart there.
    slack = span * 1e-6 + 2 * math.ulp(max(abs(low), abs(low + span)))
    assert all(low - slack <= tick <= low + span + slack for tick in found)


def test_ticks_are_round() -> None:
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ticks(3, 41) == [10, 20, 30, 40]


def test_higher_values_are_drawn_higher_and_later_ones_further_right() -> None:
    figure = drawn([Line(name="a", points=[(0, 0.0), (5, 1.0), (10, 0.5)])])
    [polyline] = figure.iter("polyline")
    (x0, y0), (x1, y1), (x2, y2) = coordinates(polyline.attrib["points"])
    assert x0 < x1 < x2
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y1 < y2 < y0
    assert y0 - y2 == pytest.approx((y0 - y1) / 2, abs=0.2)


@pytest.mark.parametrize(
    "points",
    [
        [(1, 0.0)],
        [(3, 5.0)],
        [(0, -2.0), (1, -1.0)],
        [(1, 7.0), (2, 7.0)],
        [(step, 1e-9 * step) for step in range(9)],
        [(0, 5e-324)],
    ],
)
def test_any_finite_points_stay_on_the_canvas(points: list[tuple[float, float]]) -> None:
    figure = drawn([Line(name="a", points=points)])
    for polyline in figure.iter("polyline"):
        assert all(0 <= x <= 480 and 0 <= y <= 220 for x, y in coordinates(polyline.attrib["points"]))


def test_many_points_become_means_within_a_band_of_their_extremes() -> None:
    points = [(float(step), float(step % 2)) for step in range(10_000)]
    figure = drawn([Line(name="a", points=points)])
    [polyline], [band] = figure.iter("polyline"), figure.iter("polygon")
    means, outline = coordinates(polyline.attrib["points"]), coordinates(band.attrib["points"])
    assert len(means) <= 240
    assert len({y for _, y in means}) == 1, "the mean of 0 and 1 everywhere"
    assert len({y for _, y in outline}) == 2, "0 and 1"


def test_few_points_say_their_value_on_hover() -> None:
    figure = drawn([Line(name="<loss>", points=[(1, 0.5)])])
    assert [title.text for title in figure.iter("title")] == ["<loss> 0.5 at 1"]


def test_a_chart_without_points_is_nothing() -> None:
    assert line_chart("Loss", [Line(name="a", points=[])], x_name="step", show=plain) is None
