"""The rows of the benchmark: what is measured, and how its two sides do it."""

from benchmarks.speed.rows import equality, steps

BENCHES = (*steps.BENCHES, *equality.BENCHES)

__all__ = ["BENCHES"]
