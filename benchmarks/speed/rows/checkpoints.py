"""How long a checkpoint holds the training up."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from benchmarks.speed.clock import Seconds, Timed, seconds_of
from benchmarks.speed.ground import Ground, opened
from benchmarks.speed.plain.step import PlainTraining
from benchmarks.speed.row import PLAIN, Bench, Row
from benchmarks.speed.training import Ours, Plain, in_memory

from semiseg.engine.saving import CheckpointWriter
from semiseg.engine.state import save_state

ENCODERS = ("dinov2_small", "dinov2_base")


def save_plain(training: PlainTraining, folder: Path) -> None:
    """Write models, optimizer and step to two files, the newest and the best, as published."""
    content = {
        "model": training.student.state_dict(),
        "model_ema": training.teacher.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "epoch": training.done,
    }
    for name in ("latest.pth", "best.pth"):
        torch.save(content, folder / name)


def measure(encoder: str, ground: Ground) -> Iterator[Row]:
    """Time what the loop waits for, and a checkpoint to its end; a step first, so that the optimizer has its state."""
    config = ground.config(encoder, 56, 2)
    with opened(config) as task, CheckpointWriter(task.directory.checkpoints, print) as writer:
        ours, plain = Ours(task), Plain(task, config)
        batches = in_memory(task)
        ours.step(iter(batches))
        plain.step(iter(plain.rendered(batches)))
        save = partial(save_state, task, ours.state, writer)

        def save_to_its_end() -> None:
            save()
            writer.wait()

        save_to_its_end()  # makes room for the copy
        found: dict[str, list[Seconds]] = {"fast": [], "to its end": [], PLAIN: []}
        for _ in range(ground.rounds):
            found["fast"].append(seconds_of(save, ground.machine.device))
            writer.wait()
            found["to its end"].append(seconds_of(save_to_its_end, ground.machine.device))
            work = partial(save_plain, plain.training, task.directory.path)
            found[PLAIN].append(seconds_of(work, ground.machine.device))
    sides = {name: Timed(rounds=tuple(rounds), units=1) for name, rounds in found.items()}
    yield Row(name=f"checkpoint/{encoder}", unit="checkpoint", sides=sides)


BENCHES = tuple(
    Bench(
        name=f"checkpoint/{encoder}",
        measure=lambda ground, encoder=encoder: measure(encoder, ground),
        left_out=lambda machine, encoder=encoder: (
            "no part of the rehearsal"
            if machine.quick
            else ""
            if machine.has_gpu or encoder == "dinov2_small"
            else "its size says nothing new on a CPU"
        ),
    )
    for encoder in ENCODERS
)
