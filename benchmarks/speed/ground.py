"""What the rows stand on: the machine, the images, and trainings opened on them as `semiseg train` opens them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from benchmarks.speed.machine import Machine

from semiseg.api import opened_task, recipe_config
from semiseg.config import Config
from semiseg.data.scenes import write_scenes
from semiseg.engine.task import Task

STEPS = 10_000
"""Length of the schedules: no row takes as many steps, and all of them run at about the full rates."""


def shared_camvid() -> Path | None:
    """Return CamVid in the folder of shared data, where the tests look for it too; None where it is absent."""
    repository = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("SEMISEG_SHARED", repository.parent / "shared"))
    return shared / "camvid" if (shared / "camvid").is_dir() else None


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where and on what is measured.

    Attributes:
        machine: the device.
        folder: for what is written, thrown away afterwards.
        data: CamVid as in the docs, or None: scenes are drawn.
        rounds: turns of each side.
        budget: seconds that a turn should take.
        precision: of our side.
        traces: where traces of our steps are written, or None.
    """

    machine: Machine
    folder: Path
    data: Path | None = None
    rounds: int = 3
    budget: float = 2.0
    precision: str = "auto"
    traces: Path | None = None

    @property
    def images(self) -> str:
        """What the images are."""
        return "CamVid" if self.data else "drawn scenes"

    def data_words(self) -> list[str]:
        """Return the settings of the images; scenes are drawn when they are first asked for."""
        if self.data:
            return ["--data.root", str(self.data), "--data.spec", "camvid", "--data.split", "1_16"]
        scenes, side = self.folder / "scenes", 96 if self.machine.quick else 480
        write_scenes(scenes, labeled=8, unlabeled=24, val=8, size=side)
        return ["--data.root", str(scenes)]

    def config(self, encoder: str, crop: int, batch: int, *words: str) -> Config:
        """Return the settings of a training: the published ones but for what is named."""
        workers = 4 if self.machine.has_gpu else 0
        own = {
            "--model.encoder": encoder,
            "--model.weights": "random",
            "--data.crop": str(crop),
            "--data.workers": str(workers),
            "--schedule.batch": str(batch),
            "--schedule.steps": str(STEPS),
            "--optimizer.lr_batch": "0",
            "--consistency.warm_up": "0",
            "--precision": self.precision,
            "--device": str(self.machine.device),
            "--run.folder": str(self.folder / "runs"),
        }
        return recipe_config("default", [*self.data_words(), *(word for pair in own.items() for word in pair), *words])


_numbers = count()


@contextmanager
def opened(config: Config) -> Iterator[Task]:
    """Open a training in a run directory of its own."""
    named = replace(config, run=replace(config.run, name=f"speed{next(_numbers)}"))
    with opened_task(named) as (task, _):
        yield task
