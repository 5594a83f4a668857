"""What one look at the machine finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "note", "bad"]
"""All right; it works, but read the advice; it does not work."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    name: str
    value: str
    verdict: Verdict = "good"
    advice: str = ""
    """What to do; empty where all is well."""


def gigabytes(count: float) -> str:
    """Return bytes as people read them."""
    return f"{count / 1e9:.0f} GB" if count >= 1e10 else f"{count / 1e9:.1f} GB"
