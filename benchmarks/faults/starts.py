"""Starts of a small training, in processes forked from this one: it has imported everything, so they cost little."""

from __future__ import annotations

import csv
import itertools
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path

import semiseg.api  # noqa: F401  # here, so that no start has to import it
from semiseg.cli import main

STEPS = 40
PATIENCE = 120
"""Seconds without which no start, and no step of one, may stay on this small a training, however busy the machine."""

_CLOCK = {"train/images_per_second", "train/seconds_per_step", "train/gpu_gb"}
_RESUMED = "resumed after step "


@dataclass(frozen=True)
class Run:
    """A training of `processes` processes in `folder / name`, on the images in `data`."""

    folder: Path
    name: str
    data: Path
    processes: int = 1
    _starts: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.folder / self.name

    def words(self, workers: int) -> list[str]:
        """Return what stands on the command line."""
        return [
            *("train", str(self.data), "--resume", "auto", "--run.folder", str(self.folder), "--run.name", self.name),
            *("--device", "cpu", "--precision", "fp32", "--model.encoder", "vit_nano", "--model.weights", "random"),
            *("--data.crop", "32", "--data.workers", str(workers), "--schedule.batch", str(2 * self.processes)),
            *("--schedule.steps", str(STEPS), "--schedule.log_every", "1", "--schedule.checkpoint_every", "3"),
            *("--optimizer.lr", "1e-3", "--optimizer.lr_batch", "0", "--optimizer.decoder_multiplier", "1"),
            *("--consistency.threshold", "0"),
            *("--evaluation.every", "3"),  # epochs of three steps
        ]

    def start(self, workers: int = 0) -> Start:
        """Begin or continue the training, with so many loader processes for each process."""
        said = self.folder / f"{self.name}-start{next(self._starts)}"
        words, port, context = self.words(workers), _free_port(), multiprocessing.get_context("fork")
        members = []
        for rank in range(self.processes):
            arguments = (words, said.with_name(f"{said.name}-{rank}.txt"), self._environment(rank, port))
            members.append(context.Process(target=_train, args=arguments))
            members[-1].start()
        return Start(self, members, said)

    def _environment(self, rank: int, port: int) -> dict[str, str]:
        """Return what torchrun would say to a process."""
        if self.processes == 1:
            return {}
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.processes, "LOCAL_WORLD_SIZE": self.processes}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": False}
        return {name: str(value) for name, value in {**places, **meeting, "SEMISEG_TIMEOUT": 20}.items()}

    def step(self) -> int:
        """Return the last step that `metrics.csv` shows, 0 for none."""
        return max((int(row[0]) for row in _rows(self.path)[-1:]), default=0)

    def end_state(self) -> dict[str, object]:
        """Return what may not depend on the faults: weights, optimizer, averages, figures; nothing of clocks."""
        newest = max(self.path.glob("checkpoints/step_*"))
        files = {
            "checkpoint": newest / "tensors.safetensors",
            "state": newest / "state.json",
            "evaluations": self.path / "checkpoints/evaluations.json",
            "model": self.path / "model/model.safetensors",
        }
        contents: dict[str, object] = {name: path.read_bytes() for name, path in files.items()}
        return contents | {"metrics": [row for row in _rows(self.path) if row[2] not in _CLOCK]}


@dataclass(frozen=True)
class Start:
    """The processes of one start of a run."""

    run: Run
    members: Sequence[ForkProcess]
    _said: Path

    def wait_for(self, step: int) -> bool:
        """Wait until a step is done; return whether all processes still run then."""
        return self._until(lambda: self.run.step() >= step or not self.alive, f"step {step}") and self.alive

    @property
    def alive(self) -> bool:
        """Whether all processes run."""
        return all(member.is_alive() for member in self.members)

    def workers(self) -> list[int]:
        """Return the process numbers of the loader processes."""
        lists = (path for member in self.members for path in Path(f"/proc/{member.pid}/task").glob("*/children"))
        return [int(number) for path in lists for number in path.read_text().split()]

    def codes(self) -> list[int]:
        """Wait for the end; return the exit codes, of a signal its negative number."""
        self._until(lambda: not any(member.is_alive() for member in self.members), "the end")
        return [member.exitcode or 0 for member in self.members]

    def said(self) -> str:
        """Return all that the processes printed."""
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.run.folder.glob(f"{self._said.name}-*"))
        )

    def resumed_after(self) -> int:
        """Return the step that it continued after, 0 from the beginning."""
        return max((int(part.split()[0]) for part in self.said().split(_RESUMED)[1:]), default=0)

    def _until(self, true: Callable[[], bool], what: str) -> bool:
        deadline = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"{self.run.name}: {what} did not come within {PATIENCE} s\n{self.said()}")
            time.sleep(0.01)
        return True

    def kill(self) -> None:
        """End all processes."""
        for member in self.members:
            member.kill()
            member.join()


def _train(words: list[str], said: Path, environment: Mapping[str, str]) -> None:
    """Be a process of a training, from here on."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    os.environ.update(environment)
    sys.exit(main(words))


def _rows(run: Path) -> list[list[str]]:
    try:
        with (run / "metrics.csv").open(newline="") as file:
            return [row for row in csv.reader(file) if len(row) == 4 and row[0].isdigit()]
    except FileNotFoundError:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
