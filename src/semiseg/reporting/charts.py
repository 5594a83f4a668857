"""Line charts, worked out to the coordinates that `templates/chart.html` draws in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 480, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 30
_MOST_POINTS = 240
"""More points than this are averaged in groups, with a band from the lowest to the highest of each group."""
_COLOURS = 8
"""Colours of the style sheet, `s1` to `s8`."""
_SHORTEST = 1e-300
"""No axis is shorter: floats would run out between two ticks."""
_MOST_DOTS = 80
"""Up to this many points are drawn one by one, each with its value as a tooltip."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve."""

    name: str
    """As the legend calls it."""
    points: Sequence[tuple[float, float]]
    """(x, y), ascending in x, all finite."""
    reference: bool = False
    """Whether it is someone else's, to compare with: drawn dashed and without dots."""
    series: int | None = None
    """Which of the page's colours it has, from 1 on; None: by its place among the chart's lines."""
    value: str | None = None
    """What the legend says beside the name; None: the last value."""
    keyed: bool = True
    """Whether the legend names it; of several lines that belong together one does."""


@dataclass(frozen=True, kw_only=True)
class Area:
    """A band that curves are held against."""

    name: str
    """As the legend calls it."""
    points: Sequence[tuple[float, float, float]]
    """(x, lowest y, highest y), ascending in x."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A round number on an axis: where it stands along it, and as it is written."""

    place: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A point that tells its value."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line on the canvas."""

    name: str
    """As the legend calls it."""
    value: str
    """What the legend says beside it."""
    keyed: bool
    """Whether it is in the legend."""
    style: str
    """Its class in the style sheet: `s1`, `s2`, .. or `reference`."""
    path: str
    """The corners, as SVG wants them."""
    band: str = ""
    """Outline of the band that holds every value, where the line shows their means."""
    dots: tuple[Dot, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point that is singled out, and the words beside it."""

    x: float
    y: float
    words: str
    text_x: float
    text_y: float
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What `templates/chart.html` draws; places are in units of the canvas."""

    title: str
    x_name: str
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    mark: Mark | None
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    bottom: int = _HEIGHT - _BOTTOM


@dataclass(frozen=True)
class _Frame:
    """The ranges of a chart and where they lie on its canvas."""

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, x: float) -> float:
        low, high = self.x
        return round(_LEFT + (x - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def up(self, y: float) -> float:
        low, high = self.y
        return round(_HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.across(x)},{self.up(y)}" for x, y in points)


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_name: str,
    show: Callable[[float], str],
    y_range: tuple[float, float] | None = None,
    mark: tuple[float, float, str] | None = None,
    area: Area | None = None,
) -> Chart | None:
    """Work out a chart.

    Args:
        title: what the chart shows.
        lines: the curves; those without points are left out, and of a chart without curves nothing is left.
        x_name: what runs along the x axis, such as `step`.
        show: how a value of y is written.
        y_range: the y axis; by default it holds 0 and every value and ends on round numbers.
        mark: x, y and the words of one point to single out.
        area: a band behind the curves; the x axis holds it too.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    frame = _frame(lines, y_range, [x for x, _, _ in area.points] if area else [])
    return Chart(
        title=title,
        x_name=x_name,
        curves=(
            *([_band(area, frame)] if area else []),
            *(_curve(line, colour(line.series or place), frame, show) for place, line in enumerate(lines, start=1)),
        ),
        x_ticks=tuple(Tick(place=frame.across(x), text=f"{x:,.0f}") for x in ticks(*frame.x, about=6) if x == round(x)),
        y_ticks=tuple(Tick(place=frame.up(y), text=show(y)) for y in ticks(*frame.y)),
        mark=_mark(frame, *mark) if mark else None,
    )


def colour(series: int) -> str:
    """Return the class in the style sheet of the first, second, .. series; there are eight colours."""
    return f"s{(series - 1) % _COLOURS + 1}"


def tick_step(low: float, high: float, about: int = 5) -> float:
    """Return 1, 2 or 5 times a power of ten, so that roughly `about` steps lie between `low` and `high` > `low`."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return the round numbers within `low` and `high`, roughly `about` of them."""
    step = tick_step(low, high, about)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [count * step for count in range(first, last + 1)]


def _frame(lines: Sequence[Line], y_range: tuple[float, float] | None, further: Sequence[float]) -> _Frame:
    x_range = _range((*further, *(x for line in lines for x, _ in line.points)))
    if y_range is None:
        low, high = _range(y for line in lines for _, y in line.points)
        step = tick_step(low, high)
        y_range = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return _Frame(x_range, y_range)


def _range(values: Iterable[float]) -> tuple[float, float]:
    """Return lowest and highest of 0 and the values; never a range without numbers between its ends."""
    found = [0.0, *values]
    low, high = min(found), max(found)
    return (low, high) if high - low > _SHORTEST else (0.0, 1.0)


def _curve(line: Line, style: str, frame: _Frame, show: Callable[[float], str]) -> Curve:
    points, band = line.points, ""
    dots: tuple[Dot, ...] = ()
    if line.reference:
        style = "reference"
    elif len(points) > _MOST_POINTS:
        points, outline = _grouped(points)
        band = frame.path(outline)
    elif len(points) <= _MOST_DOTS:
        dots = tuple(Dot(x=frame.across(x), y=frame.up(y), words=f"{line.name} {show(y)} at {x:g}") for x, y in points)
    value = show(line.points[-1][1]) if line.value is None else line.value
    path = frame.path(points)
    return Curve(name=line.name, value=value, keyed=line.keyed, style=style, path=path, band=band, dots=dots)


def _band(area: Area, frame: _Frame) -> Curve:
    outline = [*((x, high) for x, _, high in area.points), *((x, low) for x, low, _ in reversed(area.points))]
    return Curve(name=area.name, value="", keyed=True, style="reference", path="", band=frame.path(outline))


def _grouped(points: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return the means of consecutive groups, and the outline of the band that holds every point."""
    size = math.ceil(len(points) / _MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    middles = [sum(x for x, _ in group) / len(group) for group in groups]
    means = [sum(y for _, y in group) / len(group) for group in groups]
    top = [max(y for _, y in group) for group in groups]
    bottom = [min(y for _, y in group) for group in groups]
    outline = [*zip(middles, top, strict=True), *zip(reversed(middles), reversed(bottom), strict=True)]
    return list(zip(middles, means, strict=True)), outline


def _mark(frame: _Frame, x: float, y: float, words: str) -> Mark:
    """Put the words where the canvas has room."""
    across, up = frame.across(x), frame.up(y)
    beyond_middle = across > _WIDTH / 2
    return Mark(
        x=across,
        y=up,
        words=words,
        text_x=across + (-9 if beyond_middle else 9),
        text_y=up - 9 if up > 24 else up + 18,
        anchor="end" if beyond_middle else "start",
    )
