"""The training step from batches in memory, with and without compiled blocks and decoder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle

from benchmarks.speed.clock import Work, alternate, seconds_of
from benchmarks.speed.ground import Ground, opened
from benchmarks.speed.machine import Machine
from benchmarks.speed.row import Bench, Row
from benchmarks.speed.rows.steps import CASES, FAST, Case
from benchmarks.speed.training import Ours, in_memory

COMPILED = "compiled"
STEPS = 3
"""Steps in which a training meets all that there is to compile."""


def measure(case: Case, ground: Ground) -> Iterator[Row]:
    """Time both steps in turn, and before that what compiling takes: the first steps, less as many later ones."""
    crop, batch = (case.quick or (56, 2)) if ground.machine.quick else (case.crop, case.batch)
    switched = ground.config(case.encoder, crop, batch, "--schedule.compile", "true")
    with opened(ground.config(case.encoder, crop, batch)) as task, opened(switched) as compiled:
        batches = in_memory(task)
        sides: dict[str, Work] = {
            name: partial(Ours(each).step, cycle(batches)) for name, each in ((FAST, task), (COMPILED, compiled))
        }
        device = ground.machine.device
        first = seconds_of(lambda: [sides[COMPILED]() for _ in range(STEPS)], device).wall
        timed = alternate(sides, rounds=ground.rounds, device=device, budget=ground.budget)
    seconds = first - STEPS * timed[COMPILED].wall
    facts = {"precision": "bf16" if task.bf16 else "fp32", "says": f"{seconds:.0f} s of compiling"}
    yield Row(name=f"compiled/{case.encoder}/{case.crop}", unit="step", sides=timed, facts=facts)


def _left_out(case: Case, machine: Machine) -> str:
    if machine.quick and case.encoder != "vit_nano":
        return "no part of the rehearsal"
    return "" if machine.has_gpu and case.crop == 518 else "takes minutes; name it"


BENCHES = tuple(
    Bench(
        name=f"compiled/{case.encoder}/{case.crop}",
        measure=lambda ground, case=case: measure(case, ground),
        left_out=lambda machine, case=case: _left_out(case, machine),
    )
    for case in CASES
)
