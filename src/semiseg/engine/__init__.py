"""The engine: the loop, evaluation, checkpoints, processes and the run directory. It knows no method and no data set."""
