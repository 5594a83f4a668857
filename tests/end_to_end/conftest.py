from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PACES = {"train/images_per_second"}


@pytest.fixture(scope="session")
def numbers() -> Callable[[Path], dict[tuple[int, str], float]]:
    """Return `numbers(run)`: what `metrics.csv` holds by step and name, each once, without what a clock decides."""

    def read(run: Path) -> dict[tuple[int, str], float]:
        with (run / "metrics.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["name"] not in PACES]
        found = {(int(row["step"]), row["name"]): float(row["value"]) for row in rows}
        assert len(found) == len(rows), "a number is logged twice"
        return found

    return read


@pytest.fixture(scope="session")
def python() -> tuple[list[str], dict[str, str]]:
    """Return the start of a command line that runs Python modules as here, and its environment, with one thread."""
    return [sys.executable, "-m"], {**os.environ, "OMP_NUM_THREADS": "1"}
