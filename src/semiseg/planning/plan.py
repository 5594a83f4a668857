"""What a training will take on this machine, before it is started."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from semiseg.api import opened_task
from semiseg.config import Config
from semiseg.config.recipe import recipe_config
from semiseg.data import load_dataset
from semiseg.engine.distributed import choose_device
from semiseg.engine.progress import duration
from semiseg.engine.task import Task
from semiseg.errors import ConfigError
from semiseg.models import can_recompute
from semiseg.planning.probe import STEP_SECONDS, Probe, probe
from semiseg.planning.settings import Setting, are_photographs, of_classes, of_length, of_machine, of_memory, of_size
from semiseg.quickstart import TASKS, draw_scenes
from semiseg.recipes import is_recipe

_KEPT = 2
"""Checkpoints that a run keeps; while it writes one there is a third."""
_IDLE = 0.2
"""Share of a step from which waiting for images is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a training will take. Times in seconds, memory and disk in bytes."""

    command: str
    """What to start."""
    settings: tuple[Setting, ...]
    """What the command says beyond what was given."""
    offers: tuple[Setting, ...]
    """What may be worth a try."""
    device: str
    """Where it was measured."""
    steps: int
    evaluations: int
    val_images: int
    opening: float
    """Looking at the data and building the model."""
    training: float
    """From the first step to the last evaluation."""
    training_cpu: float
    """Time of the CPU for the steps, of the main process; evaluations are not in it."""
    disk: int
    disk_free: int
    measured: Probe
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Say it."""
        found, rest = self.measured, self.evaluations * (self.measured.image * self.val_images)
        kind = "GPU memory" if self.device != "CPU" else "main memory, the loader processes not counted"
        lines = [
            f"time      {duration(self.opening + self.training)}: {self.steps:,} steps of {found.step:.2g} s, "
            f"{self.evaluations} evaluations of {duration(rest / max(self.evaluations, 1) + found.evaluation)}, "
            f"{duration(self.opening + found.start)} to begin",
            f"memory    {found.memory / 2**30:.2f} GiB of {kind}",
            f"disk      {self.disk / 2**20:,.0f} MiB; {self.disk_free / 2**30:,.0f} GiB are free",
            f"measured  {found.steps} steps and {found.images} val images on {self.device}; the loop waits for images "
            f"{found.waiting:.0%} of the time",
            *(f"note      {note}" for note in self.notes),
        ]
        lines += [f"set       {' '.join(setting.words)}  ({setting.reason})" for setting in self.settings]
        lines += [f"offer     {' '.join(setting.words)}  ({setting.reason})" for setting in self.offers]
        return [*lines, "", self.command]


def plan(
    recipe: str = "default",
    overrides: Sequence[str] = (),
    *,
    hours: float | None = None,
    seconds: float = STEP_SECONDS,
) -> Plan:
    """Measure a few steps of a training on this machine and say what all of it will take; nothing is kept.

    A recipe stays as it is. For a folder the plan chooses encoder, crop, batch and rates by the machine, and how large
    photographs are read. Weights are random: they take the same time and need no network.

    Args:
        recipe: as `recipe_config` takes it.
        overrides: settings, as on the command line; what they say stays.
        hours: shorten the run to so many; default: one for a folder on a machine without a GPU, else as it is.
        seconds: how long to take steps.

    Raises:
        SemisegError: what the training would be refused for.
    """
    given = list(overrides)
    config = recipe_config(recipe, given)
    is_folder = not is_recipe(recipe) and Path(recipe).is_dir()
    device = choose_device(config.device)
    settings = _of_folder(config, device, given) if is_folder else []
    if is_folder and device.type == "cpu" and hours is None:
        hours = 1.0
    with TemporaryDirectory(prefix="semiseg-plan-") as folder:
        scenes, notes = _scenes(config, Path(folder))
        words = [*scenes, "--run.folder", folder, "--run.name", "probe", "--model.weights", "random"]
        words += ["--consistency.warm_up", "0"]  # steps from labels alone are cheaper than those that follow
        looked = _look(recipe, [*given, *_words(settings), *words], device, seconds)
    settings += [*looked.fitted, *_length(looked, hours)]
    if is_folder and config.recipe == "laptop":
        notes = (*notes, "no GPU: the recipe laptop, a small pretrained encoder; see `semiseg recipes laptop`")
    return _plan(recipe, given, settings, notes, looked)


def _of_folder(config: Config, device: torch.device, given: Sequence[str]) -> list[Setting]:
    dataset = load_dataset(config.data)
    return [*of_machine(device, given), *(of_size(config, dataset, given) if are_photographs(dataset) else [])]


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """What was measured, and on what."""

    config: Config
    task: Task
    opening: float
    measured: Probe
    fitted: list[Setting]
    device: str
    offers: list[Setting]

    @property
    def evaluation(self) -> float:
        """Seconds of an evaluation."""
        return self.measured.image * len(self.task.evaluator.samples) + self.measured.evaluation

    def evaluations(self, steps: int) -> int:
        return -(-steps // self.task.evaluates_every)


def _look(recipe: str, words: list[str], device: torch.device, seconds: float) -> _Looked:
    """Measure; where the batch does not fit on the GPU, with blocks that run twice, then in ever smaller parts."""
    fitted: list[Setting] = []
    while True:
        config = recipe_config(recipe, [*words, *_words(fitted)])
        shutil.rmtree(Path(config.run.folder) / "probe", ignore_errors=True)
        began = time.perf_counter()
        spares = False
        try:
            with opened_task(config) as (task, _):
                opening = time.perf_counter() - began
                spares = config.model.trains != "decoder" and can_recompute(task.student.encoder)
                measured = probe(task, seconds)
        except torch.OutOfMemoryError as error:
            fitted = of_memory(config, [*words, *_words(fitted)], fitted, spares=spares)
            if not fitted:
                raise ConfigError(
                    "a single image does not fit into the memory of the GPU",
                    where=config.model.encoder,
                    remedy="choose a smaller encoder or --data.crop",
                ) from error
            torch.cuda.empty_cache()
            continue
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        return _Looked(
            config=config,
            task=task,
            opening=opening,
            measured=measured,
            fitted=fitted,
            device=name,
            offers=[offer for of in (of_classes, of_size) for offer in of(config, task.stream.dataset, words)],
        )


def _length(looked: _Looked, hours: float | None) -> list[Setting]:
    every = looked.task.evaluates_every
    step = looked.measured.step + looked.evaluation / every
    return of_length(looked.task.stream.steps, step, every, hours)


def _scenes(config: Config, folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """Draw the demo's scenes for a recipe of the demo, which draws its own."""
    asked = next((task for task in TASKS.values() if task.recipe == config.recipe), None)
    if config.data.root is not None or asked is None:
        return [], ()
    draw_scenes(folder / "scenes", asked)
    return ["--data.root", str(folder / "scenes")], ("no data are named: measured on the scenes of the demo",)


def _plan(recipe: str, given: list[str], settings: list[Setting], notes: tuple[str, ...], looked: _Looked) -> Plan:
    found, task = looked.measured, looked.task
    shorter = {setting.key: setting.value for setting in settings}
    steps = int(shorter.get("schedule.steps", task.stream.steps))
    evaluations, saves = looked.evaluations(steps), -(-steps // task.saves_every)
    waits = found.waiting > _IDLE and looked.device != "CPU"
    return Plan(
        command=shlex.join(["semiseg", "train", recipe, *given, *_words(settings)]),
        settings=tuple(settings),
        offers=tuple(looked.offers),
        device=looked.device,
        steps=steps,
        evaluations=evaluations,
        val_images=len(task.evaluator.samples),
        opening=looked.opening,
        training=found.start + steps * found.step + evaluations * looked.evaluation + saves * found.saving,
        training_cpu=steps * found.step_cpu,
        disk=min(saves, _KEPT + 1) * found.checkpoint + found.rest + evaluations * found.picture,
        disk_free=shutil.disk_usage(_existing(Path(recipe_config(recipe, given).run.folder))).free,
        measured=found,
        notes=(*notes, *(("the GPU waits for images: raise --data.workers",) if waits else ())),
    )


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _words(settings: Sequence[Setting]) -> list[str]:
    return [word for setting in settings for word in setting.words]
