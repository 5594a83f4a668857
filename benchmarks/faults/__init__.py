"""A training that is disturbed again and again must end like one that was left alone: `python -m benchmarks.faults`."""
