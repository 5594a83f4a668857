"""Whether both sides learn the same: the losses of twenty steps on the same data, in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle

import torch
from benchmarks.speed.ground import Ground, opened
from benchmarks.speed.row import Bench, Row
from benchmarks.speed.training import Ours, Plain, in_memory

STEPS, TOLERANCE = 20, 1e-5
CASES = {"vit_nano": 64, "efficientnet_lite0": 64, "dinov2_small": 70}
"""Encoders, and crops that are small: equality is no matter of size."""
WORDS = ("--consistency.threshold", "0", "--precision", "fp32", "--data.workers", "0")
"""With random weights no pixel reaches the published threshold. At a threshold of 0 all are learned, and none of them
can be on one side of it here and on the other there for a last bit."""


def losses(encoder: str, crop: int, ground: Ground, steps: int = STEPS) -> list[tuple[float, float]]:
    """Return the losses of ours and of the plain steps, from the same weights and on the same data."""
    config = ground.config(encoder, crop, 2, *WORDS)
    with one_thread(), opened(config) as task:
        ours, plain = Ours(task), Plain(task, config)
        batches = in_memory(task)
        mine, its = cycle(batches), cycle(plain.rendered(batches))
        for _ in range(steps):
            ours.step(mine)
        theirs = [plain.step(its)["loss"] for _ in range(steps)]
        return list(zip(map(float, ours.losses), theirs, strict=True))


@contextmanager
def one_thread() -> Iterator[None]:
    """Add up in one order on both sides.

    With two threads a last bit decides a pixel whose two best classes are all but equal: a loss of DINOv2-S jumped from
    a difference of 2e-7 to one of 2e-5 in the fifteenth step, where that of one thread stays at 3e-7.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def farthest(pairs: list[tuple[float, float]]) -> float:
    """Return the largest difference of two losses, in parts of the plain one."""
    return max(abs(mine - its) / abs(its) for mine, its in pairs)


def measure(encoder: str, crop: int, ground: Ground) -> Iterator[Row]:
    """Compare the losses; what differs by more than the tolerance counts as failed."""
    name, pairs = f"equality/{encoder}", losses(encoder, crop, ground)
    found = farthest(pairs)
    said = (
        f"the losses of {len(pairs)} steps of ours and of plain differ by at most {found:.1e}, {TOLERANCE:g} is allowed"
    )
    if not found <= TOLERANCE:
        yield Row(name=name, missing=f"failed: {said}")
    else:
        yield Row(name=name, facts={"says": said, "difference": found, "losses": pairs})


BENCHES = tuple(
    Bench(
        name=f"equality/{encoder}",
        measure=lambda ground, encoder=encoder, crop=crop: measure(encoder, crop, ground),
        left_out=lambda machine, encoder=encoder: (
            "no part of the rehearsal" if machine.quick and encoder != "vit_nano" else ""
        ),
    )
    for encoder, crop in CASES.items()
)
