"""`semiseg` in float64, for tests that hold two trainings against each other: `python float64.py train FOLDER ...`.

The order of a sum changes with the division of a batch, and its rounding with it. Where a pixel's two likeliest
classes, or its confidence and the threshold, are as close as rounding, the pixel gets another label, and from then on
the two are different trainings. In float32 it was one of the 70,000 pixels of a test's first 12 steps, and which one
hangs on the processor; in float64 logits differ by 1e-13 instead of 1e-4. What differs there, differs by rule.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = __file__

if __name__ == "__main__":  # pytest finds benchmarks/ without it
    sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from fidelity import computing_in  # noqa: E402  # benchmarks/fidelity.py

from semiseg.cli import main  # noqa: E402


@pytest.fixture
def in_float64() -> Iterator[None]:
    """Compute in float64 while a test runs, in its own process."""
    with computing_in("float64"):
        yield


if __name__ == "__main__":
    with computing_in("float64"):
        sys.exit(main())
