"""From a configuration to a training: what is divided, built and said before the first step."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from semiseg.config import Config, to_dict
from semiseg.data import (
    DatasetSpec,
    Division,
    RunData,
    TrainStream,
    loader_workers,
)
from semiseg.engine.distributed import Processes
from semiseg.engine.evaluation import Evaluator
from semiseg.engine.inference import inference_of
from semiseg.engine.rundir import RunDirectory
from semiseg.engine.schedule import build_optimizer, frozen_steps, lr_scale
from semiseg.engine.services import open_services
from semiseg.engine.task import Task
from semiseg.errors import ConfigError
from semiseg.methods import Context, Method, SharedSettings, find_method
from semiseg.models import ModelCard, Segmenter, Training, can_recompute, recompute

_COMPILERS = ("g++", "c++", "clang++", "cl")


def run_name(config: Config) -> str:
    """Return the name of the run's directory: as configured, or recipe, data set, method, split and seed.

    What the recipe's own name says is not said again, and the recipes of data folders say nothing beside one.
    """
    recipe = config.recipe.replace("/", "-")
    split = Path(config.data.split).name if config.data.split else None
    folder = Path(config.data.root).absolute().name.strip(".-") if config.data.root else None
    dataset = config.data.spec or folder
    parts = [part for part in (dataset, config.method, split) if part and part not in recipe.split("-")]
    if not dataset or recipe not in ("default", "laptop"):
        parts = [recipe, *parts]
    return config.run.name or "-".join((*parts, f"seed{config.seed}"))


def divide(config: Config, processes: Processes) -> Division:
    """Divide the global batch among processes and passes.

    Raises:
        ConfigError: the batch cannot be divided evenly.
    """
    method, batch = find_method(config.method), config.schedule.batch
    local = batch // processes.count
    if batch < 1 or batch % processes.count:
        raise ConfigError(
            f"a batch of {batch} cannot be divided among {processes.count} processes",
            where="schedule.batch",
            remedy=f"pass a multiple of {processes.count} as --schedule.batch",
        )
    most = config.schedule.per_device or local
    accumulate = next(parts for parts in range(1, local + 1) if local % parts == 0 and local // parts <= max(most, 1))
    return Division(
        labeled=batch * method.labeled_factor,
        unlabeled=batch if method.learns_unlabeled else 0,
        processes=processes.count,
        rank=processes.rank,
        accumulate=accumulate,
    )


def build_method(config: Config, processes: Processes, spec: DatasetSpec, student: Segmenter) -> Method[Any]:
    """Build the method of a run, with its own settings and those that methods share.

    Raises:
        SemisegError: the method is unknown, or cannot train so.
    """
    method = find_method(config.method)
    if config.data.teacher and not method.learns_taught:
        raise ConfigError(
            f"the method {config.method} cannot learn a trained teacher's labels",
            where="data.teacher",
            expected="the method fixmatch or unimatch_v2",
            remedy="correct --method, or leave --data.teacher out",
        )
    own = getattr(config, config.method, None) or method.config_class()
    shared = SharedSettings(loss=config.loss, consistency=config.consistency)
    context = Context(
        spec=spec,
        model=config.model,
        crop=config.data.crop,
        seed=config.seed,
        device=processes.device,
        normalize=student.normalize,
        gather=processes.gather,
    )
    return method(own, shared, context)


def check_crop(config: Config, student: Segmenter) -> None:
    """Refuse a crop that does not divide into the patches of the student.

    Raises:
        ConfigError: it does not.
    """
    if config.data.crop < student.patch or config.data.crop % student.patch:
        nearest = max(1, round(config.data.crop / student.patch)) * student.patch
        raise ConfigError(
            f"crop {config.data.crop} does not divide into patches of {student.patch} pixels",
            where="data.crop",
            expected=f"a multiple of {student.patch}",
            remedy=f"pass --data.crop {nearest}",
        )


def prepare_steps(config: Config, student: Segmenter) -> None:
    """Prepare the student for what the schedule says of a step's memory and speed.

    Raises:
        ConfigError: its encoder cannot, or there is no compiler.
    """
    if config.schedule.activation_checkpointing:
        if not can_recompute(student.encoder):
            raise ConfigError(
                f"{config.model.encoder} has no blocks that may run twice",
                where="schedule.activation_checkpointing",
                expected="a vision transformer, or another encoder of blocks without batch norm",
                remedy="save memory with --schedule.per_device instead",
            )
        recompute(student.encoder)
    if config.schedule.compile and not any(map(shutil.which, _COMPILERS)):
        raise ConfigError(
            "there is no C++ compiler, which torch.compile needs",
            where="schedule.compile",
            expected=f"{', '.join(_COMPILERS)} on the path",
            remedy="install one (Debian: apt-get install g++), or leave --schedule.compile out",
        )


def make_task(
    config: Config,
    run: RunDirectory,
    processes: Processes,
    division: Division,
    data: RunData,
    student: Segmenter,
    method: Method[Any],
) -> Task:
    """Put together all that a training needs."""
    dataset, spec = data.dataset, data.dataset.spec
    stream = TrainStream(
        dataset,
        config.data,
        division,
        strong=config.strong,
        views=method.views,
        seed=config.seed,
        labeled_views=int(method.sees_labeled != "weak"),
        labeled_mixed=method.sees_labeled == "strong",
        second=method.second_unlabeled,
        warm_up=config.consistency.warm_up if method.warms_up else 0.0,
        own_from=config.consistency.own_from,
    )
    stream.steps = config.schedule.steps or config.schedule.epochs * stream.steps_per_epoch
    card = ModelCard(
        classes=spec.classes,
        palette=spec.palette,
        ignore_value=spec.ignore_value,
        frames=len(spec.frames),
        crop=config.data.crop,
        protocol=config.evaluation.protocol or spec.protocol,
        tile=config.evaluation.tile,
        bands=spec.bands,
        levels=spec.levels,
        long_side=spec.long_side,
        precision=config.precision,
        model=student.config,
        training=Training(
            dataset=spec.name,
            method=config.method,
            labeled=len(dataset.labeled),
            unlabeled=len(dataset.unlabeled) if method.learns_unlabeled else 0,
            val=len(dataset.val),
        ),
    )
    inference = inference_of(card, student.patch, device=processes.device)
    return Task(
        method=method,
        student=student,
        stream=stream,
        quarantine=data.quarantine,
        evaluator=Evaluator(
            samples=dataset.val,
            spec=spec,
            inference=inference,
            batch=config.evaluation.batch,
            max_pixels=config.data.max_pixels,
        ),
        card=card,
        optimizer=build_optimizer(student, config.optimizer, lr_scale(config.optimizer, config.schedule.batch)),
        schedule=config.schedule,
        evaluation=config.evaluation,
        frozen=frozen_steps(config.optimizer, stream.steps),
        workers=loader_workers(config.data.workers, processes.neighbours),
        bf16=inference.bf16,
        directory=run,
        processes=processes,
        couriers=lambda say: open_services(config.logging, run.path, to_dict(config), say),
        introduction=_introduction(config, run, stream, inference.bf16, processes),
    )


def _introduction(
    config: Config, run: RunDirectory, stream: TrainStream, bf16: bool, processes: Processes
) -> tuple[str, ...]:
    """Say what was found and what was decided, learning rates above all."""
    dataset, division, per_epoch = stream.dataset, stream.division, stream.steps_per_epoch
    every = config.evaluation.steps_between(per_epoch, config.schedule.steps)
    spec, batch, scale = dataset.spec, config.schedule.batch, lr_scale(config.optimizer, config.schedule.batch)
    lr = config.optimizer.lr * scale
    scaled = f", scaled by {scale:g} for a batch of {batch} instead of {config.optimizer.lr_batch}"
    device = torch.cuda.get_device_name(processes.device) if processes.device.type == "cuda" else "CPU"
    return (
        f"{spec.name}: {spec.num_classes} classes, {len(dataset.labeled):,} labeled, "
        f"{len(dataset.unlabeled):,} unlabeled, {len(dataset.val):,} val, none both trained and evaluated on; "
        + ("labeled and val files decoded" + (", headers of unlabeled images read" if dataset.unlabeled else "")),
        *dataset.notes,
        f"{config.method}: {config.model.encoder} + {config.model.decoder}, crop {config.data.crop}, "
        f"{'bf16' if bf16 else 'fp32'} on {device}",
        f"batch {batch} = {processes.count} processes x {division.accumulate} passes x {batch // division.chunks}"
        + (" (labeled images doubled, as published for labeled-only training)" if not division.unlabeled else ""),
        f"length {stream.steps:,} steps = {stream.steps / per_epoch:.3g} epochs of {per_epoch:,}, evaluated every "
        f"{min(every, stream.steps):,}",
        f"lr {lr:.3g} (encoder) {lr * config.optimizer.decoder_multiplier:.3g} (decoder)"
        + (scaled if scale != 1 else ""),
        *_frozen_start(config, stream.steps),
        f"run directory {run.path}",
    )


def _frozen_start(config: Config, steps: int) -> list[str]:
    frozen = frozen_steps(config.optimizer, steps)
    return [f"the encoder stands still in the first {frozen:,} steps"] if frozen else []
