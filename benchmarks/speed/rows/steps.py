"""The training step, from batches in memory and with the loader, and traces of it where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import torch
from benchmarks.speed.clock import Timed, Work, alternate
from benchmarks.speed.ground import Ground, opened
from benchmarks.speed.machine import Machine
from benchmarks.speed.row import PLAIN, Bench, Row
from benchmarks.speed.training import Ours, Plain, in_memory
from torch.utils.flop_counter import FlopCounterMode

FAST, FAST_FP32, LOADER = "fast", "fast fp32", "+loader"
PREFETCHED = 17
"""Batches that four loader processes, each four batches ahead, have ready while the other sides have their turns."""


@dataclass(frozen=True)
class Case:
    """A training step: encoder, crop, labeled and as many unlabeled images, and whether a CPU does it by default."""

    encoder: str
    crop: int
    batch: int
    on_cpu: bool = False
    quick: tuple[int, int] | None = None
    """Crop and batch of a rehearsal; None: it has no part in it."""

    @property
    def name(self) -> str:
        """Of its rows."""
        return f"step/{self.encoder}/{self.crop}"

    def left_out(self, machine: Machine) -> str:
        """Say why it is not measured by default."""
        if machine.quick:
            return "" if self.quick else "no part of the rehearsal"
        return "" if machine.has_gpu or self.on_cpu else "takes minutes without a GPU"


CASES = (
    Case("dinov2_small", 322, 2, on_cpu=True, quick=(70, 2)),
    Case("efficientnet_lite0", 256, 4, on_cpu=True),
    Case("vit_nano", 64, 8, on_cpu=True, quick=(64, 2)),
    Case("dinov2_small", 518, 4),
    Case("dinov2_small", 798, 2),
    Case("dinov2_base", 322, 4),
    Case("dinov2_base", 518, 4),
    Case("dinov2_base", 798, 2),
    Case("dinov2_large", 322, 4),
    Case("dinov2_large", 518, 4),
    Case("dinov2_large", 798, 2),
)
"""The recipe `camvid` with a small batch, the recipes `camvid-cpu` and `demo`, and the published crops 518 and 798."""


def measure(case: Case, ground: Ground) -> Iterator[Row]:
    """Time the step of a case: all sides in turn, from memory and with the loader."""
    crop, batch = (case.quick or (56, 2)) if ground.machine.quick else (case.crop, case.batch)
    with ExitStack() as stack:
        config = ground.config(case.encoder, crop, batch)
        task = stack.enter_context(opened(config))
        ours, plain = {FAST: Ours(task)}, Plain(task, config)
        if task.bf16:
            exact = stack.enter_context(opened(ground.config(case.encoder, crop, batch, "--precision", "fp32")))
            ours[FAST_FP32] = Ours(exact)
        batches = in_memory(task)
        sides: dict[str, tuple[Work, Iterator[object]]] = {
            name + loader: (partial(side.step, source), source)
            for name, side in ours.items()
            for loader, source in (("", cycle(batches)), (LOADER, side.loaded()))
        }
        rendered, loaded = cycle(plain.rendered(batches)), plain.loaded()
        flops, fits = flops_of(partial(plain.step, rendered), instead=sides[FAST][0])
        if fits:
            sides |= {PLAIN: (partial(plain.step, rendered), rendered)}
            sides |= {PLAIN + LOADER: (partial(plain.step, loaded), loaded)}
        timed = alternate(
            {name: step for name, (step, _) in sides.items()},
            rounds=ground.rounds,
            device=ground.machine.device,
            budget=ground.budget,
            before={
                name: partial(_drain, source) for name, (_, source) in sides.items() if LOADER in name and task.workers
            },
        )
        facts = {
            "crop": crop,
            "batch": f"{batch}+{batch}",
            "precision": "bf16" if task.bf16 else "fp32",
            "flops": flops,
        }
        yield from _rows(case, timed, facts | ({} if fits else {"note": "plain does not fit into the memory"}), ground)
        if ground.traces:
            trace(sides[FAST][0], ground, case.name.replace("/", "-"))


def _rows(case: Case, timed: dict[str, Timed], facts: dict[str, Any], ground: Ground) -> Iterator[Row]:
    """Part the sides into a row from memory and one with the loader."""
    from_memory = {name: side for name, side in timed.items() if LOADER not in name}
    with_loader = {name.removesuffix(LOADER): side for name, side in timed.items() if LOADER in name}
    yield Row(name=f"{case.name}/memory", unit="step", sides=from_memory, facts=facts)
    share = with_loader[FAST].wall / from_memory[FAST].wall
    facts = facts | {"images": ground.images, "loader/memory": share}
    yield Row(name=f"{case.name}/loader", unit="step", sides=with_loader, facts=facts)


def _drain(batches: Iterator[object]) -> None:
    """Take what the loader processes have ready, so that a turn tells how fast they are."""
    for _ in range(PREFETCHED):
        next(batches)


def flops_of(work: Work, instead: Work) -> tuple[int, bool]:
    """Count the FLOP of the matmuls and convolutions of a piece of work; a multiplication and an addition are two.

    Args:
        work: what is counted.
        instead: what is counted where the first does not fit into the memory of the GPU.

    Returns:
        The FLOP, and whether the work fits.
    """
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    except torch.OutOfMemoryError:
        if work is instead:
            raise
        torch.cuda.empty_cache()
        return flops_of(instead, instead)[0], False
    return int(counter.get_total_flops()), True


def trace(work: Work, ground: Ground, name: str) -> None:
    """Write a trace of three units for chrome://tracing or Perfetto."""
    assert ground.traces is not None, "asked for"
    ground.traces.mkdir(parents=True, exist_ok=True)
    with torch.profiler.profile() as profile:
        for _ in range(3):
            work()
    profile.export_chrome_trace(str(ground.traces / f"{name}.json.gz"))


BENCHES = tuple(
    Bench(name=case.name, measure=lambda ground, case=case: measure(case, ground), left_out=case.left_out)
    for case in CASES
)
