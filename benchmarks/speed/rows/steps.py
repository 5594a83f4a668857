"""The training step, from batches in memory and with the loader, and traces of it where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle

import torch
from benchmarks.speed.clock import Work, alternate
from benchmarks.speed.ground import Ground, opened
from benchmarks.speed.machine import Machine
from benchmarks.speed.row import PLAIN, Bench, Row
from benchmarks.speed.training import Ours, Plain, in_memory
from torch.utils.flop_counter import FlopCounterMode

FAST, FAST_FP32 = "fast", "fast fp32"
PREFETCHED = 17
"""Steps with four loader processes, each four batches ahead, that tell how fast the queue is, and not the loader."""


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
"""The sizes of table 14 of the paper, the recipe `camvid` on a small batch, and the recipes `camvid-cpu` and `demo`."""


def measure(case: Case, ground: Ground) -> Iterator[Row]:
    """Time the step of a case: all sides in turn, from memory and with the loader."""
    crop, batch = (case.quick or (56, 2)) if ground.machine.quick else (case.crop, case.batch)
    with ExitStack() as stack:
        config = ground.config(case.encoder, crop, batch)
        task = stack.enter_context(opened(config))
        ours, plain = Ours(task), Plain(task, config)
        sides = {FAST: ours}
        if task.bf16:
            exact = stack.enter_context(opened(ground.config(case.encoder, crop, batch, "--precision", "fp32")))
            sides[FAST_FP32] = Ours(exact)
        batches = in_memory(task)
        rendered = cycle(plain.rendered(batches))
        flops = flops_of(lambda: plain.step(rendered))
        work: dict[str, Work] = {name: _of(side, cycle(batches)) for name, side in sides.items()}
        work |= {f"{name}+loader": _of(side, side.loaded()) for name, side in sides.items()}
        loaded = plain.loaded()
        work |= {PLAIN: lambda: plain.step(rendered), f"{PLAIN}+loader": lambda: plain.step(loaded)}
        if task.workers:
            for name in work:
                if name.endswith("+loader"):
                    for _ in range(PREFETCHED):
                        work[name]()
        timed = alternate(work, rounds=ground.rounds, device=ground.machine.device, budget=ground.budget)
        facts = {
            "crop": crop,
            "batch": f"{batch}+{batch}",
            "precision": "bf16" if task.bf16 else "fp32",
            "flops": flops,
        }
        from_memory = {name: side for name, side in timed.items() if not name.endswith("+loader")}
        with_loader = {name.removesuffix("+loader"): side for name, side in timed.items() if name.endswith("+loader")}
        yield Row(name=f"{case.name}/memory", unit="step", sides=from_memory, facts=facts)
        facts = facts | {"images": ground.images, "loader/memory": with_loader[FAST].wall / from_memory[FAST].wall}
        yield Row(name=f"{case.name}/loader", unit="step", sides=with_loader, facts=facts)
        if ground.traces:
            trace(work[FAST], ground, case.name.replace("/", "-"))


def _of(side: Ours, batches: Iterator[object]) -> Work:
    return lambda: side.step(batches)  # type: ignore[arg-type]


def flops_of(work: Callable[[], object]) -> int:
    """Count the FLOP of the matmuls and convolutions of a piece of work; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


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
