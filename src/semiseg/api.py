"""What the verbs of the command line do, as functions: train and evaluate put the rooms together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from semiseg.assembly import build_method, check_crop, divide, make_task, prepare_steps, run_name
from semiseg.config import FREE_ON_RESUME, Config, make_config, to_dict
from semiseg.config.recipe import recipe_config as recipe_config  # named here, too
from semiseg.data import (
    DataConfig,
    Judges,
    RunData,
    check_labeled,
    check_labels,
    find_judges,
    open_data,
)
from semiseg.data.spec import Protocol
from semiseg.data.ticks import no_tick
from semiseg.data.yaml_file import read_yaml
from semiseg.engine.config import Precision
from semiseg.engine.determinism import deterministic_sums
from semiseg.engine.distributed import Processes, choose_device, join_processes, share_batch_norm
from semiseg.engine.evaluation import Evaluation, Evaluator
from semiseg.engine.inference import Inference, inference_of
from semiseg.engine.progress import Ticker
from semiseg.engine.rundir import RunDirectory, begin_run, continue_run
from semiseg.engine.runlock import hold_run
from semiseg.engine.task import Task
from semiseg.engine.training import TrainingResult, fit
from semiseg.errors import ConfigError, DataError
from semiseg.models import ModelCard, build_segmenter, describe_classes, find_model, load_model
from semiseg.published import published_curve
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


def train(config: Config, *, resume: bool | Literal["auto"] = False) -> TrainedRun:
    """Train as the configuration says; everything that can be checked is checked before anything is written.

    Args:
        config: the whole configuration, for example from `recipe_config`.
        resume: continue the run of this name; `auto`: if there is one, else begin it.

    Raises:
        SemisegError: bad settings, data or weights, or a run directory that cannot be used.
        RunStopped: a signal asked the run to stop; it can be resumed.
    """
    with opened_task(config, resume=resume) as (task, resumed), deterministic_sums(config.deterministic):
        return TrainedRun(task.directory.path, fit(task, resume=resumed))


@contextmanager
def opened_task(config: Config, *, resume: bool | Literal["auto"] = False) -> Iterator[tuple[Task, bool]]:
    """Open all that a training needs, its run directory last; as `train` takes it, and raising as it does.

    Yields:
        The task, and whether its run is one to be continued.
    """
    config = make_config(to_dict(config), where="the configuration")  # one made in Python is not checked yet
    run = RunDirectory(Path(config.run.folder) / run_name(config))
    published = published_curve(config.published) if config.published else None
    with join_processes(config.device) as processes, ExitStack() as held:
        if resume == "auto":
            resume = bool(processes.largest(int(processes.is_main and run.config.is_file())))
        division = divide(config, processes)
        unlabeled = division.unlabeled > 0
        tick = Ticker("samples checked") if processes.is_main else no_tick
        data = open_data(config.data, run.data, resumed=resume, unlabeled=unlabeled, peers=processes, tick=tick)
        dataset = data.dataset
        if config.data.teacher:
            check_labels(Path(config.data.teacher), dataset.unlabeled, dataset.spec)
        student = build_segmenter(
            config.model, dataset.spec.num_classes, frames=len(dataset.spec.frames), seed=config.seed
        )
        told = describe_classes(student, dataset.spec.definitions, config.seed)
        student = share_batch_norm(student, processes)
        check_crop(config, student)
        prepare_steps(config, student)
        student = student.to(processes.device)
        method = build_method(config, processes, dataset.spec, student)
        notes: list[str] = [told] if told else []
        processes.by_main(lambda: held.enter_context(_opened(run, config, data, resume, notes.append)))
        task = make_task(config, run, processes, division, data, student, method)
        yield replace(task, report=report, published=published, introduction=(*task.introduction, *notes)), resume


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


def evaluate(
    model: Path | str,
    data: DataConfig | None = None,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    protocol: Protocol | None = None,
    tile: int | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
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
        scales: the sizes at which each image is seen, as factors; the mean of the probabilities counts.
        flip: whether each is seen mirrored too.
        progress: called at the start and after each batch with the number of images done and of all.

    Raises:
        SemisegError: no model, no val images, or images that do not fit the model.
    """
    directory = find_model(model)
    chosen = choose_device(device)
    segmenter, card = load_model(directory, chosen)
    inference = inference_of(
        card,
        segmenter.patch,
        device=chosen,
        precision=precision,
        protocol=protocol,
        tile=tile,
        scales=scales,
        flip=flip,
    )
    judges, evaluator = open_judges(directory, card, data, inference)
    samples, spec = evaluator.samples, evaluator.spec
    found = check_labeled(samples, spec, evaluator.max_pixels, Ticker("val samples checked"))
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
        notes=(*judges.notes, *replace(spec.shown, bands=None).notes(), *judges.changed(found.files)),
    )


def open_judges(
    directory: Path, card: ModelCard, data: DataConfig | None, inference: Inference
) -> tuple[Judges, Evaluator]:
    """Find the val images that a saved model is evaluated on.

    Args:
        directory: of the model.
        card: of the model.
        data: where the val images are; default: those of the model's run.
        inference: how images are shown to models.

    Raises:
        DataError: no val images, or they have other classes than the model.
    """
    trained = config_of_run(directory.parent)
    judges = find_judges(data, trained.data if trained else None, RunDirectory(directory.parent).data)
    config = data or cast(Config, trained).data
    spec = replace(judges.spec, long_side=card.long_side)  # as the model was trained, whatever the data say
    if spec.classes != card.classes:
        raise DataError(
            f"the data set {spec.name} has other classes than the model: {', '.join(spec.classes)}",
            where=directory,
            expected=", ".join(card.classes),
            remedy="evaluate on data with the classes that the model was trained on",
        )
    if (spec.bands, spec.levels) != (card.bands, card.levels):
        raise DataError(
            f"the data set {spec.name} shows its images in another way than the model knows",
            where=directory,
            expected=f"bands: {list(card.bands)}, levels: {[list(pair) for pair in card.levels]}",
            remedy="write these into its dataset.yaml",
        )
    if not judges.val.samples:
        raise DataError("no val images", where=config.root, remedy="name a list with --data.val LIST")
    evaluator = Evaluator(
        samples=judges.val.samples,
        spec=spec,
        inference=inference,
        # The batch of the run, so that not even rounding differs from what training logged.
        batch=trained.evaluation.batch if trained else 1,
        max_pixels=config.max_pixels,
    )
    return judges, evaluator


def config_of_run(run: Path) -> Config | None:
    """Return the configuration of a run; None where there is none, or a file of someone else's or another version."""
    path = RunDirectory(run).config
    try:
        return make_config(read_yaml(path, ConfigError), where=path) if path.is_file() else None
    except ConfigError:
        return None
