from __future__ import annotations

import csv
import os
import socket
import subprocess
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


@pytest.fixture(scope="session")
def train_by_two(python: tuple[list[str], dict[str, str]]) -> Callable[[list[str]], str]:
    """Return `train(words)`: `semiseg train` in two processes of torchrun; what was printed."""
    command, environment = python

    def run(words: list[str]) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
        done = subprocess.run(
            [*command, *launcher, "--master-port", port, "-m", "semiseg", "train", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run
