"""Line charts as small pieces of SVG, coloured by the page's style sheet so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 480, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 30
_MOST_POINTS = 240
"""More points than this are averaged in groups, with a band from the lowest to the highest of each group."""
_MOST_DOTS = 80
"""Up to this many points are drawn one by one, each with its value as a tooltip."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve; its place among the chart's lines decides its colour."""

    name: str
    """As the legend calls it."""
    points: Sequence[tuple[float, float]]
    """(x, y), ascending in x, all finite."""
    reference: bool = False
    """Whether it is someone else's, to compare with: drawn dashed and without dots."""


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
) -> str:
    """Return a `<figure>` with title, legend and chart.

    Args:
        title: what the chart shows.
        lines: the curves; those without points are left out, and a chart without curves is an empty string.
        x_name: what runs along the x axis, such as `step`.
        show: how a value of y is written.
        y_range: the y axis; by default it holds 0 and every value and ends on round numbers.
        mark: x, y and the words of one point to single out.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    frame = _frame(lines, y_range)
    drawn = "".join(_curve(line, index, frame, show) for index, line in enumerate(lines, start=1))
    return (
        f'<figure class="chart"><figcaption><span class="chart-title">{escape(title)}</span>{_key(lines, show)}'
        "</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_axes(frame, x_name, show)}{drawn}{_mark(frame, mark)}</svg></figure>"
    )


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


def _frame(lines: Sequence[Line], y_range: tuple[float, float] | None) -> _Frame:
    x_range = _range(x for line in lines for x, _ in line.points)
    if y_range is None:
        low, high = _range(y for line in lines for _, y in line.points)
        step = tick_step(low, high)
        y_range = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return _Frame(x_range, y_range)


def _range(values: Iterable[float]) -> tuple[float, float]:
    """Return lowest and highest of 0 and the values; never an empty range."""
    found = [0.0, *values]
    low, high = min(found), max(found)
    return (low, high) if high > low else (0.0, 1.0)


def _axes(frame: _Frame, x_name: str, show: Callable[[float], str]) -> str:
    left, right, bottom = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for y in ticks(*frame.y):
        up = frame.up(y)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{up}" y2="{up}"/>')
        parts.append(f'<text class="tick" x="{left - 7}" y="{up + 3.5}" text-anchor="end">{escape(show(y))}</text>')
    for x in ticks(*frame.x, about=6):
        if x == round(x):
            across = frame.across(x)
            parts.append(f'<text class="tick" x="{across}" y="{bottom + 15}" text-anchor="middle">{x:,.0f}</text>')
    parts.append(f'<text class="tick" x="{right}" y="{_HEIGHT - 2}" text-anchor="end">{escape(x_name)}</text>')
    return "".join(parts)


def _curve(line: Line, index: int, frame: _Frame, show: Callable[[float], str]) -> str:
    if line.reference:
        return f'<polyline class="line reference" points="{frame.path(line.points)}"/>'
    if len(line.points) > _MOST_POINTS:
        means, band = _grouped(line.points)
        return (
            f'<polygon class="band s{index}" points="{frame.path(band)}"/>'
            f'<polyline class="line s{index}" points="{frame.path(means)}"/>'
        )
    dots = ""
    if len(line.points) <= _MOST_DOTS:
        dots = "".join(
            f'<circle class="dot s{index}" cx="{frame.across(x)}" cy="{frame.up(y)}" r="2.4">'
            f"<title>{escape(line.name)} {escape(show(y))} at {x:g}</title></circle>"
            for x, y in line.points
        )
    return f'<polyline class="line s{index}" points="{frame.path(line.points)}"/>{dots}'


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


def _mark(frame: _Frame, mark: tuple[float, float, str] | None) -> str:
    if mark is None:
        return ""
    x, y, words = mark
    across, up = frame.across(x), frame.up(y)
    beyond_middle = across > _WIDTH / 2
    return (
        f'<circle class="mark" cx="{across}" cy="{up}" r="5"/>'
        f'<text class="mark-text" x="{across + (-9 if beyond_middle else 9)}" y="{up - 9 if up > 24 else up + 18}" '
        f'text-anchor="{"end" if beyond_middle else "start"}">{escape(words)}</text>'
    )


def _key(lines: Sequence[Line], show: Callable[[float], str]) -> str:
    """Name the lines, each with its latest value."""
    entries = (
        f'<span class="key"><i class="{"reference" if line.reference else f"s{index}"}"></i>{escape(line.name)} '
        f"<b>{escape(show(line.points[-1][1]))}</b></span>"
        for index, line in enumerate(lines, start=1)
    )
    return f'<span class="keys">{"".join(entries)}</span>'
