"""The most memory that a training step holds: models, optimizer, activations and gradients."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import cycle

import torch
from benchmarks.speed.ground import Ground, opened
from benchmarks.speed.live_bytes import LiveBytes
from benchmarks.speed.row import PLAIN, Bench, Row
from benchmarks.speed.rows.steps import CASES, Case
from benchmarks.speed.training import Ours, Plain, in_memory
from torch import Tensor, nn

from semiseg.config import Config

RECOMPUTING = "recomputing"
"""Our side with activation checkpointing."""


def measure(case: Case, ground: Ground) -> Iterator[Row]:
    """Measure all sides, one after the other: what one holds is gone before the other is built."""
    crop, batch = (case.quick or (56, 2)) if ground.machine.quick else (case.crop, case.batch)
    config = ground.config(case.encoder, crop, batch)
    sparing = ground.config(case.encoder, crop, batch, "--schedule.activation_checkpointing", "true")
    numbers = {"fast": _ours(config), RECOMPUTING: _ours(sparing), PLAIN: _plain(config)}
    facts = {
        "crop": crop,
        "batch": f"{batch}+{batch}",
        "how": "allocated" if ground.machine.has_gpu else "live tensors",
    }
    yield Row(name=f"memory/{case.encoder}/{case.crop}", unit="step", numbers=numbers, facts=facts)


def _ours(config: Config) -> int:
    before = _allocated()
    with opened(config) as task:
        ours = Ours(task)
        batches = cycle(in_memory(task))
        models = [ours.state.student, ours.state.teacher]
        return _peak(lambda: ours.step(batches), models, ours.state.optimizer, before)


def _plain(config: Config) -> int:
    with opened(config) as task:
        before = _allocated()  # with the student that the weights are taken from
        plain = Plain(task, config)
        rendered = cycle(plain.rendered(in_memory(task)))
        training = plain.training
        return _peak(lambda: plain.step(rendered), [training.student, training.teacher], training.optimizer, before)


def _peak(step: Callable[[], object], models: list[nn.Module], optimizer: torch.optim.Optimizer, before: int) -> int:
    """Return the most bytes of a step, of the second one: then the optimizer has its state."""
    step()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    with LiveBytes() as live:
        step()
    kept = list({id(tensor): tensor for model in models for tensor in (*model.parameters(), *model.buffers())}.values())
    kept += [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return live.peak + sum(tensor.nbytes for tensor in kept)


def _allocated() -> int:
    """Return the bytes that are taken on the GPU now, by what others left there."""
    gc.collect()
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


BENCHES = tuple(
    Bench(
        name=f"memory/{case.encoder}/{case.crop}",
        measure=lambda ground, case=case: measure(case, ground),
        left_out=lambda machine, case=case: (
            case.left_out(machine)
            or ("no part of the rehearsal" if machine.quick and case.encoder != "vit_nano" else "")
        ),
    )
    for case in CASES
)
