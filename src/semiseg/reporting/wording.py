"""How the pages write figures."""

from __future__ import annotations


def points(fraction: float | None) -> str:
    """Write a fraction in percent without the sign: 0.714 is `71.4`."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def percent(fraction: float) -> str:
    """Write a share: 0.42 is `42 %`."""
    return f"{100 * fraction:.0f} %"


def plain(value: float) -> str:
    """Write any number in three digits."""
    return f"{value:.3g}".replace("e-0", "e-")


def epoch(value: float) -> str:
    """Write how many epochs are done."""
    return f"epoch {value:.4g}"


def counted(count: int, noun: str) -> str:
    """Write a number of things: `1 run`, `3 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def difference(fraction: float) -> str:
    """Write a difference of fractions in points, with its sign: 0.042 is `+4.2`, and what rounds to nothing `±0.0`."""
    return "±0.0" if is_level(fraction) else f"{100 * fraction:+.1f}"


def is_level(fraction: float) -> bool:
    """Whether a difference of fractions is less than half of the last digit that is shown."""
    return abs(fraction) < 0.0005
