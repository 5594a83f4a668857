"""Counter-based randomness: every draw is a function of (seed, purpose, counters), never of what was drawn before.

So a run is the same for any number of workers, resumes bit-exactly in mid-epoch and sees the same samples on any
number of processes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def _key(seed: int, purpose: str, counters: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence((seed, zlib.crc32(purpose.encode()), *counters))


def rng(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return the NumPy generator of one purpose, for example `rng(seed, "geometry", epoch, slot)`.

    Args:
        seed: the run's seed, >= 0.
        purpose: what is drawn; two purposes never share a stream.
        counters: what tells this draw from the others of its purpose, each from 0 to 2**32 - 1. Always as many for one
            purpose: NumPy seeds alike from keys that differ by zeros at their end.
    """
    return np.random.Generator(np.random.Philox(_key(seed, purpose, counters)))


def torch_rng(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """Return the CPU torch generator of one purpose; arguments as in `rng`."""
    import torch  # not above: lists are drawn without it, and it takes seconds

    state = int(_key(seed, purpose, counters).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state & (2**63 - 1))


@contextmanager
def counted(seed: int, purpose: str, *counters: int, device: torch.device | None = None) -> Iterator[None]:
    """Let torch's global generators, which initialisers and layers draw from, be those of one purpose for a while.

    Args:
        seed: as in `rng`.
        purpose: as in `rng`.
        *counters: as in `rng`.
        device: where is drawn, if not on the CPU alone. A GPU's generator draws other numbers than the CPU's.
    """
    import torch

    generator = torch_rng(seed, purpose, *counters)
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.set_rng_state(generator.get_state())
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(generator.initial_seed())
        yield
