"""How long the command line takes before it does anything, beside what a published script imports first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from benchmarks.speed.clock import alternate
from benchmarks.speed.ground import Ground
from benchmarks.speed.row import PLAIN, Bench, Row

STARTS = {
    "import semiseg": ("-c", "import semiseg"),
    "--help": ("-m", "semiseg", "--help"),
    "recipes": ("-m", "semiseg", "recipes"),
    "doctor": ("-m", "semiseg", "doctor"),
    PLAIN: ("-c", "import numpy, PIL.Image, torch, torchvision, yaml"),
}


def measure(ground: Ground) -> Iterator[Row]:
    """Time each start in a process of its own."""
    chosen = STARTS if not ground.machine.quick else {name: STARTS[name] for name in ("import semiseg", PLAIN)}
    work = {name: partial(_start, words) for name, words in chosen.items()}
    timed = alternate(work, rounds=ground.rounds, device=torch.device("cpu"), budget=0, most=1)
    yield Row(name="start", unit="start", sides=timed)


def _start(words: Sequence[str]) -> None:
    # `doctor` answers 1 where something stands in the way of training here, and has looked all the same.
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


BENCHES = (Bench(name="start", measure=measure),)
