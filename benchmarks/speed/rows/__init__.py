"""The rows of the benchmark: what is measured, and how its two sides do it."""

from benchmarks.speed.rows import checkpoints, compiling, equality, evaluating, loading, memory, starting, steps

BENCHES = (
    *steps.BENCHES,
    *loading.BENCHES,
    *evaluating.BENCHES,
    *memory.BENCHES,
    *compiling.BENCHES,
    *checkpoints.BENCHES,
    *starting.BENCHES,
    *equality.BENCHES,
)

__all__ = ["BENCHES"]
