"""The rows as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.speed.row import PLAIN, Row

RATES = {"step": False, "start": False, "checkpoint": False}
"""Units of which the seconds are told; of all others how many are done in a second."""


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Return all that was measured, then what was not, then where."""
    timed = [row for row in rows if row.sides]
    counted = [row for row in rows if row.numbers]
    parts = [_timed(timed), _rates(timed, facts), _counted(counted), _facts_of(rows), _missing(rows), _where(facts)]
    return "\n\n".join(part for part in parts if part)


def _timed(rows: Sequence[Row]) -> str:
    lines = [
        "| row | side | this | plain | plain / this | CPU s: this | plain | ratio |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        plain = row.sides.get(PLAIN)
        wall, cpu = row.ratios(), row.ratios("cpu")
        for name, side in row.sides.items():
            if name == PLAIN:
                continue
            its = (_wall(row.unit, plain.wall), f"{wall[name]:.2f}") if plain else ("", "")
            processor = (f"{plain.cpu:.3g}", f"{cpu[name]:.2f}") if plain else ("", "")
            cells = [row.name, name, _wall(row.unit, side.wall), *its, f"{side.cpu:.3g}", *processor]
            lines.append(_line(cells))
    return "\n".join(lines) if rows else ""


def _wall(unit: str, seconds: float) -> str:
    if unit not in RATES:
        return f"{1 / seconds:.3g} {unit}s/s"
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _rates(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Return FLOP/s of the steps, and their share of the matmul rate: the measured one and its maker's."""
    steps = [row for row in rows if row.facts.get("flops")]
    if not steps:
        return ""
    lines = [
        "| row | side | ms | GFLOP a step | TFLOP/s | of the measured matmul rate | of the maker's |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in steps:
        for name, side in row.sides.items():
            kind = row.facts["precision"] if name == "fast" else "fp32"
            rate = row.facts["flops"] / side.wall
            nominal = facts.get("nominal_flops") if kind == "bf16" else None
            share = f"{rate / nominal:.1%}" if nominal else ""
            cells = [row.name, f"{name}, {kind}" if name == "fast" else name, f"{1000 * side.wall:.4g}",
                     f"{row.facts['flops'] / 1e9:.4g}", f"{rate / 1e12:.3g}",
                     f"{rate / facts['matmul_flops'][kind]:.1%}", share]  # fmt: skip
            lines.append(_line(cells))
    return "\n".join(lines)


def _counted(rows: Sequence[Row]) -> str:
    lines = ["| row | side | this | plain | plain / this |", "|---|---|--:|--:|--:|"]
    for row in rows:
        for name, value in row.numbers.items():
            if name != PLAIN:
                plain = row.numbers[PLAIN]
                sizes = (f"{value / 2**20:,.0f} MiB", f"{plain / 2**20:,.0f} MiB")
                lines.append(_line([row.name, name, *sizes, f"{plain / value:.2f}"]))
    return "\n".join(lines) if rows else ""


def _facts_of(rows: Sequence[Row]) -> str:
    """Return what rows without seconds or bytes say."""
    said = [f"- {row.name}: {row.facts['says']}" for row in rows if "says" in row.facts]
    return "\n".join(said)


def _missing(rows: Sequence[Row]) -> str:
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.missing:
            reasons.setdefault(row.missing, []).append(row.name)
    return "\n".join(f"not measured ({reason}): {', '.join(names)}" for reason, names in reasons.items())


def _where(facts: dict[str, Any]) -> str:
    rates = ", ".join(f"{kind} {rate / 1e9:.3g}" for kind, rate in facts["matmul_flops"].items())
    return (
        f"{facts['device']}, {facts['cores']} cores, {facts['threads']} threads, load {facts['load']} at the begin; "
        f"torch {facts['torch']}, Python {facts['python']}; matmul GFLOP/s: {rates}; {facts['date']}\n\n"
        f"`{facts['command']}`"
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
