"""What the verbs of the command line do, as functions: train and evaluate put the rooms together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch

from semiseg.config import FREE_ON_RESUME, Config, make_config, to_dict
from semiseg.data import (
    DataConfig,
    DatasetSpec,
    Division,
    RunData,
    TrainStream,
    check_labeled,
    find_judges,
    loader_workers,
    open_data,
)
from semiseg.data.spec import Protocol
from semiseg.data.yaml_file import read_yaml
from semiseg.engine.determinism import deterministic_sums
from semiseg.engine.distributed import Processes, choose_device, join_processes, share_batch_norm
from semiseg.engine.evaluation import Evaluation, Evaluator
from semiseg.engine.inference import inference_of
from semiseg.engine.precision import Precision
from semiseg.engine.rundir import RunDirectory, begin_run, continue_run
from semiseg.engine.runlock import hold_run
from semiseg.engine.schedule import build_optimizer, lr_scale
from semiseg.engine.task import Task
from semiseg.engine.training import TrainingResult, fit
from semiseg.errors import ConfigError, DataError
from semiseg.methods import Context, Method, SharedSettings, find_method
from semiseg.models import ModelCard, Segmenter, build_segmenter, describe_classes, find_model, load_model
from semiseg.published import published_curve
from semiseg.recipes import is_recipe, load_recipe
from semiseg.reporting import report


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its directory, and how it ended."""

    path: Path
    result: TrainingResult


@dataclass(frozen=True, kw_only=True)
class ModelEvaluation(Evaluation):
    """The evaluation of a finished model, and what it is about.

    Attributes:
        images: the number of val images (of pairs, for change detection).
        origin: what named them.
        trained_on: those of them that the model's run has seen in training: of them the figures say little.
        notes: what else is to be said of them.
    """

    images: int
    origin: str
    trained_on: tuple[str, ...]
    notes: tuple[str, ...]


def recipe_config(recipe: str, overrides: list[str] | None = None) -> Config:
    """Build the configuration of a recipe and overrides, as `semiseg train` does.

    Args:
        recipe: name of a recipe, path of a YAML file, or a data folder (then the recipe is `default`).
        overrides: for example `["--data.split", "30"]`.

    Raises:
        ConfigError: an unknown recipe or key, or a value of the wrong kind.
    """
    is_folder = not is_recipe(recipe) and Path(recipe).is_dir()
    settings = load_recipe("default" if is_folder else recipe)
    folder = ["--data.root", recipe] if is_folder else []
    return make_config(settings, [*folder, *(overrides or [])], where=f"recipe {recipe}")


def train(config: Config, *, resume: bool | Literal["auto"] = False) -> TrainedRun:
    """Train as the configuration says; everything that can be checked is checked before anything is written.

    Args:
        config: the whole configuration, for example from `recipe_config`.
        resume: continue the run of this name; `auto`: if there is one, else begin it.

    Raises:
        SemisegError: bad settings, data or weights, or a run directory that cannot be used.
        RunStopped: a signal asked the run to stop; it can be resumed.
    """
    config = make_config(to_dict(config), where="the configuration")  # one made in Python is not checked yet
    run = RunDirectory(Path(config.run.folder) / run_name(config))
    published = published_curve(config.published) if config.published else None
    with join_processes(config.device) as processes, ExitStack() as held:
        if resume == "auto":
            resume = bool(processes.largest(int(processes.is_main and run.config.is_file())))
        division = divide(config, processes)
        unlabeled = division.unlabeled > 0
        data = open_data(config.data, run.data, resumed=resume, unlabeled=unlabeled, peers=processes)
        dataset = data.dataset
        student = build_segmenter(
            config.model, dataset.spec.num_classes, frames=len(dataset.spec.frames), seed=config.seed
        )
        told = describe_classes(student, dataset.spec.definitions, config.seed)
        student = share_batch_norm(student, processes)
        _check_crop(config, student)
        student = student.to(processes.device)
        method = build_method(config, processes, dataset.spec, student)
        notes: list[str] = [told] if told else []
        processes.by_main(lambda: held.enter_context(_opened(run, config, data, resume, notes.append)))
        task = _task(config, run, processes, division, data, student, method)
        task = replace(task, published=published, introduction=(*task.introduction, *notes))
        with deterministic_sums(config.deterministic):
            return TrainedRun(run.path, fit(task, resume=resume))


@contextmanager
def _opened(
    run: RunDirectory, config: Config, data: RunData, resume: bool, warn: Callable[[str], object]
) -> Iterator[None]:
    """Hold the run's directory and begin or continue the run in it."""
    with hold_run(run, resume=resume, warn=warn):
        if resume:
            for line in continue_run(run, to_dict(config), FREE_ON_RESUME):
                warn(f"changed with this resume: {line}")
        else:
            counts = {name: len(getattr(data.dataset, name)) for name in ("labeled", "unlabeled", "val")}
            begin_run(run, to_dict(config), counts)
        data.keep()
        yield


def run_name(config: Config) -> str:
    """Return the name of the run's directory: as configured, or recipe, data set, method, split and seed.

    What the recipe's own name says is not said again, and `default` says nothing beside a data set.
    """
    recipe = config.recipe.replace("/", "-")
    split = Path(config.data.split).name if config.data.split else None
    folder = Path(config.data.root).absolute().name.strip(".-") if config.data.root else None
    dataset = config.data.spec or folder
    parts = [part for part in (dataset, config.method, split) if part and part not in recipe.split("-")]
    if not dataset or recipe != "default":
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


def _check_crop(config: Config, student: Segmenter) -> None:
    if config.data.crop < student.patch or config.data.crop % student.patch:
        nearest = max(1, round(config.data.crop / student.patch)) * student.patch
        raise ConfigError(
            f"crop {config.data.crop} does not divide into patches of {student.patch} pixels",
            where="data.crop",
            expected=f"a multiple of {student.patch}",
            remedy=f"pass --data.crop {nearest}",
        )


def _task(
    config: Config,
    run: RunDirectory,
    processes: Processes,
    division: Division,
    data: RunData,
    student: Segmenter,
    method: Method[Any],
) -> Task:
    dataset, spec = data.dataset, data.dataset.spec
    stream = TrainStream(
        dataset,
        config.data,
        division,
        strong=config.strong,
        views=method.views,
        seed=config.seed,
        labeled_views=method.labeled_views,
        second=method.second_unlabeled,
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
        precision=config.precision,
        model=student.config,
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
        workers=loader_workers(config.data.workers, processes.neighbours),
        bf16=inference.bf16,
        directory=run,
        processes=processes,
        introduction=_introduction(config, run, stream, inference.bf16, processes),
        report=report,
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
        f"run directory {run.path}",
    )


def evaluate(
    model: Path | str,
    data: DataConfig | None = None,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    protocol: Protocol | None = None,
    tile: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ModelEvaluation:
    """Evaluate a saved model on val images, as training does.

    Args:
        model: a run directory or the `model` directory in it.
        data: where the val images are: as a list or the folder `val` names them there, else every image with a mask.
            Default: the val images of the model's run, which it has kept.
        device: auto, cpu, cuda or cuda:N.
        precision: see `Config.precision`; auto: as in training.
        protocol: `original` (whole images) or `sliding` (windows of the crop's size); default: as in training.
        tile: longest side of an image that is seen in one piece, pixels; default: as in training.
        progress: called at the start and after each batch with the number of images done and of all.

    Raises:
        SemisegError: no model, no val images, or images that do not fit the model.
    """
    directory = find_model(model)
    chosen = choose_device(device)
    segmenter, card = load_model(directory, chosen)
    inference = inference_of(card, segmenter.patch, device=chosen, precision=precision, protocol=protocol, tile=tile)
    trained = _config_of_run(directory)
    judges = find_judges(data, trained.data if trained else None, RunDirectory(directory.parent).data)
    spec, samples, config = judges.spec, judges.val.samples, data or cast(Config, trained).data
    if spec.classes != card.classes:
        raise DataError(
            f"the data set {spec.name} has other classes than the model: {', '.join(spec.classes)}",
            where=directory,
            expected=", ".join(card.classes),
            remedy="evaluate on data with the classes that the model was trained on",
        )
    if not samples:
        raise DataError("no val images", where=config.root, remedy="name a list with --data.val LIST")
    found = check_labeled(samples, spec, config.max_pixels)
    evaluator = Evaluator(
        samples=samples,
        spec=spec,
        inference=inference,
        # The batch of the run, so that not even rounding differs from what training logged.
        batch=trained.evaluation.batch if trained else 1,
        max_pixels=config.max_pixels,
    )
    report_progress = progress or (lambda done, count: None)
    report_progress(0, len(samples))
    result = evaluator.evaluate(
        {"model": segmenter}, Processes(0, 1, chosen), lambda done: report_progress(done, len(samples))
    )["model"]
    return ModelEvaluation(
        **vars(result),
        images=len(samples),
        origin=judges.val.origin,
        trained_on=tuple(judges.trained_on(found.files)),
        notes=(*judges.notes, *judges.changed(found.files)),
    )


def _config_of_run(directory: Path) -> Config | None:
    """Return the configuration of the run around a model; None where there is none, or a file of someone else's."""
    path = RunDirectory(directory.parent).config
    try:
        return make_config(read_yaml(path, ConfigError), where=path) if path.is_file() else None
    except ConfigError:
        return None
