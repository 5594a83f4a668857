"""The engine: the loop, evaluation, checkpoints, processes and the run directory; it knows no method and no data."""
