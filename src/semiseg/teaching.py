"""Distil: trained teachers label every unlabeled image once, and a student of another size learns from the labels."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semiseg.api import ModelEvaluation, TrainedRun, evaluate, train
from semiseg.assembly import run_name
from semiseg.config import Config, make_config
from semiseg.data import Sample, load_dataset
from semiseg.data.bands import Shown
from semiseg.data.prefetch import prefetch
from semiseg.data.reduction import reduced_size
from semiseg.data.spec import SCORE_NAMES, Score
from semiseg.data.taught import FACTS, label_path, write_label
from semiseg.data.yaml_file import read_yaml
from semiseg.engine.distributed import launched, own_device, speaks_for_all
from semiseg.engine.rundir import RunDirectory, refuse_place
from semiseg.errors import ConfigError, DataError
from semiseg.files import read_json, sha256_of, write_text
from semiseg.methods import find_method
from semiseg.models import ModelConfig, find_model, load_model, read_card
from semiseg.models.hub import WEIGHTS
from semiseg.prediction import Predictor
from semiseg.prediction.frames import Frames
from semiseg.reporting import report

SCALES = (0.75, 1.0, 1.25)
"""Sizes at which a teacher sees each image, mirrored too: it labels once, so it may take its time."""
_AHEAD = 3


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """How a folder of labels came to be.

    Attributes:
        folder: where they lie.
        made: labels made by this call, in all processes together.
        kept: labels that were there before.
        seconds: that making them took.
    """

    folder: Path
    made: int
    kept: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A model on the val images: its name, what it is, and what it does.

    Attributes:
        name: of its run.
        encoder: of the model.
        parameters: of the model.
        long_side: what longer val images were reduced to, pixels; None: all are as they are.
        measure: the data set's score.
        score: 0 to 1.
        seconds: for one val image, reading it and the metrics with it, on this machine.
    """

    name: str
    encoder: str
    parameters: int
    long_side: int | None
    measure: Score
    score: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Distilled:
    """A student, its teachers, and in one sentence what came of it; empty in all but the main process."""

    run: TrainedRun
    labels: Labelling
    headline: str
    details: tuple[str, ...] = ()


def student_config(teacher: Path, encoder: str, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a student: its teacher's, with another network.

    The decoder has the published sizes for the encoder, and weights come from where they do by default, unless an
    override says otherwise. A teacher that learned from labels alone has a student that learns by UniMatch V2.

    Args:
        teacher: a run directory.
        encoder: of the student.
        overrides: as on the command line.

    Raises:
        ConfigError: the teacher is no run, or an unknown key.
    """
    make_config({}, overrides)  # a word that is no key is named, whatever the teacher is
    path = RunDirectory(teacher).config
    if not path.is_file():
        raise ConfigError("no run", where=teacher, expected="config.yaml", remedy="name the directory of a run")
    settings = read_yaml(path, ConfigError)
    config = make_config(settings, where=path)
    method = config.method if find_method(config.method).learns_taught else "unimatch_v2"
    named = run_name(replace(config, method=method, run=replace(config.run, name=None)))
    changed = {
        "method": method,
        "published": None,
        "model": {**asdict(ModelConfig(encoder=encoder)), "license": config.model.license},
        "run": {**asdict(config.run), "name": f"{named}-{encoder.replace('/', '-')}-distilled"},
    }
    return make_config({**settings, **changed}, overrides, where=path)


def distill(
    teachers: Sequence[Path],
    config: Config,
    *,
    labels: Path | None = None,
    scales: Sequence[float] = SCALES,
    flip: bool = True,
    resume: bool | Literal["auto"] = False,
    progress: Callable[[int, int], None] | None = None,
) -> Distilled:
    """Label the unlabeled images by trained teachers, once, and train a student on labels and masks.

    What was cut off goes on: labels that exist are kept, and with `resume` so is the student's training.

    Args:
        teachers: run directories; several vote.
        config: of the student, from `student_config`.
        labels: where the teachers' labels go; default: `labels` in the first teacher's run.
        scales: the sizes at which the teachers see each image.
        flip: whether they see each mirrored too.
        resume: as of `train`.
        progress: called with the number of images that have a label, and of all.

    Raises:
        SemisegError: teachers without a model or of other classes, a folder of other labels, or as `train`.
        RunStopped: as `train`.
    """
    method = find_method(config.method)
    if not method.learns_taught:
        raise ConfigError(
            f"the method {config.method} cannot learn a trained teacher's labels",
            where="method",
            expected="fixmatch or unimatch_v2",
            remedy="correct --method",
        )
    place = RunDirectory(Path(config.run.folder) / run_name(config))
    if resume is False:
        refuse_place(place, resume=False)
    folder = labels or teachers[0] / "labels"
    samples = load_dataset(config.data).unlabeled
    shown = progress if speaks_for_all() else None
    made = write_labels(teachers, samples, folder, config, scales=scales, flip=flip, progress=shown)
    run = train(replace(config, data=replace(config.data, teacher=str(folder))), resume=resume)
    if not speaks_for_all():
        return Distilled(run=run, labels=made, headline="")
    headline, details = _account([*teachers, run.path], config, made)
    said = {"headline": headline, "details": details}
    write_text(RunDirectory(run.path).distilled, json.dumps(said, indent=1) + "\n")
    report(run.path)
    return Distilled(run=run, labels=made, headline=headline, details=details)


def write_labels(
    teachers: Sequence[Path],
    samples: Sequence[Sample],
    folder: Path,
    config: Config,
    *,
    scales: Sequence[float] = SCALES,
    flip: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Labelling:
    """Write what teachers say of unlabeled images; what is there already is kept. In the end all have a label.

    Processes that a launcher has started share the work through the folder alone: each labels its own share, then what
    is still missing of the others'. So none waits long for another when they join to train, and none for one that died.

    Of several teachers each has a vote on each pixel, whatever its confidence: a teacher of sharp probabilities would
    else outvote the others (V-PET). Ties, and the confidence of the label, go by the mean of their probabilities.
    Each teacher sees an image as it was trained to see them (`data.long_side`); the label is of the size at which the
    student reads the image.

    Args:
        teachers: run or model directories.
        samples: the images.
        folder: where the labels go.
        config: device and precision; and the largest image that is opened, and how large it is read.
        scales: the sizes at which each image is seen.
        flip: whether each is seen mirrored too.
        progress: called with the number of images that have a label, and of all.

    Raises:
        SemisegError: no usable model, teachers of different classes, a folder of other labels, an unreadable image.
    """
    _open_folder(folder, teachers, config.data.long_side, scales, flip)
    missing = deque(sample for sample in samples if not label_path(folder, sample).is_file())
    waiting, report_progress = _in_turn(missing), progress or (lambda done, count: None)
    report_progress(len(samples) - len(missing), len(samples))
    began, device = time.monotonic(), str(own_device(config.device))
    predictors = [Predictor.load(teacher, device, config.precision) for teacher in teachers] if waiting else []
    by_look = {each.shown: each for each in predictors}

    def read(sample: Sample) -> tuple[Sample, dict[Shown, Frames]]:
        if label_path(folder, sample).is_file():
            return sample, {}
        opened = {shown: each.open(sample.frames, config.data.max_pixels) for shown, each in by_look.items()}
        return sample, {shown: _of_student(frames, config) for shown, frames in opened.items()}

    for sample, frames in prefetch(read, waiting, ahead=_AHEAD):
        if frames and not label_path(folder, sample).is_file():
            write_label(label_path(folder, sample), *_labelled(predictors, frames, scales, flip))
        while missing and label_path(folder, missing[0]).is_file():
            missing.popleft()
        report_progress(len(samples) - len(missing), len(samples))
    made, seconds = len(waiting), time.monotonic() - began
    return Labelling(folder=folder, made=made, kept=len(samples) - made, seconds=seconds)


def _in_turn(waiting: Iterable[Sample]) -> list[Sample]:
    """Return samples in this process's order: its share, then those of others from the end, as they come there last."""
    (rank, count), samples = launched(), list(waiting)
    others = [sample for place, sample in enumerate(samples) if place % count != rank]
    return [*samples[rank::count], *reversed(others)]


def _labelled(
    predictors: Sequence[Predictor], frames: dict[Shown, Frames], scales: Sequence[float], flip: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the class and the confidence of every pixel, as `vote` does."""
    found = [
        each.predict_frames(frames[each.shown], probabilities=True, scales=scales, flip=flip).probabilities_KHW
        for each in predictors
    ]
    return vote([kept_KHW for kept_KHW in found if kept_KHW is not None])


def _of_student(frames: Frames, config: Config) -> Frames:
    """Ask for a prediction of the size at which the student reads an image."""
    height, width = frames.size
    columns, rows = reduced_size((width, height), config.data.long_side)
    return replace(frames, size=(rows, columns))


def vote(probabilities: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the class that most teachers hold most likely, and the mean of their probabilities of it.

    Args:
        probabilities: of each teacher (K, H, W); those of a pixel sum to 1.

    Returns:
        Class ids (H, W) and confidences (H, W), 0 to 1. Of classes with as many votes the likelier one.
    """
    mean_KHW: NDArray[np.float32] = np.mean(probabilities, axis=0, dtype=np.float32)
    classes_K11 = np.arange(len(mean_KHW))[:, None, None]
    votes_KHW = np.sum([each_KHW.argmax(0) == classes_K11 for each_KHW in probabilities], axis=0)
    label_HW = (votes_KHW + mean_KHW / 2).argmax(0)  # a probability never outweighs a vote
    confidence_HW = np.take_along_axis(mean_KHW, label_HW[None], axis=0)[0]
    return label_HW.astype(np.uint8), confidence_HW


def _open_folder(
    folder: Path, teachers: Sequence[Path], long_side: int | None, scales: Sequence[float], flip: bool
) -> None:
    """Write who labels here and how, or refuse a folder where others did.

    Raises:
        SemisegError: teachers of different classes, or a folder of other labels.
    """
    cards = [read_card(find_model(teacher)) for teacher in teachers]
    different = [teacher for teacher, card in zip(teachers, cards, strict=True) if card.classes != cards[0].classes]
    if different:
        raise DataError(
            f"the teachers {teachers[0]} and {different[0]} know different classes",
            expected="teachers that were trained for the same classes",
            remedy="leave one of them out",
        )
    facts = {
        "teachers": [{"run": each.name, "model": sha256_of(find_model(each) / WEIGHTS)} for each in teachers],
        "classes": list(cards[0].classes),
        "scales": list(scales),
        "flip": flip,
        "long_side": long_side,
    }
    path = folder / FACTS
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(facts, indent=1) + "\n")
    elif {"long_side": None, **read_json(path)} != facts:
        raise DataError(
            "the folder holds labels that were made otherwise: by other teachers, by teachers that have learned since, "
            "or of images read at another size",
            where=path,
            remedy="name another folder with --labels DIR, or remove this one",
        )


def _account(runs: Sequence[Path], config: Config, labels: Labelling) -> tuple[str, tuple[str, ...]]:
    """Judge teachers and student on the student's val images, and say what the student gained and lost."""
    *teachers, student = [_judge(run, config) for run in runs]
    best = max(teachers, key=lambda each: each.score)
    score = SCORE_NAMES[student.measure]
    beside = f"its {'best ' if len(teachers) > 1 else ''}teacher {best.score:.1%}"
    size, pace = student.parameters / best.parameters, student.seconds / best.seconds
    price = f"at {size:.2g} times its parameters and {pace:.2g} times its seconds for an image"
    headline = f"The student has {student.score:.1%} {score}, {beside}, {price}"
    details = [
        f"{each.name}: {each.encoder}, {each.parameters / 1e6:.2f} M parameters, {each.score:.2%} {score}, "
        f"{1 / each.seconds:.3g} val images a second on this machine"
        for each in (*teachers, student)
    ]
    sizes = {each.name: each.long_side for each in (*teachers, student)}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {side or 'as they are'}" for name, side in sizes.items())
        details.append(f"these scores are of images of different sizes (data.long_side, {listed})")
    made = f"{labels.made:,} labels made in {labels.seconds:.0f} s" if labels.made else "no label had to be made"
    return headline, (*details, f"{made}, {labels.kept:,} were there before; they lie in {labels.folder}")


def _judge(run: Path, config: Config) -> Judged:
    """Evaluate a model on the val images of the student's configuration."""
    marks: list[float] = []
    found: ModelEvaluation = evaluate(
        run,
        replace(config.data, teacher=None),
        device=config.device,
        precision=config.precision,
        progress=lambda done, count: marks.append(time.monotonic()),
    )
    segmenter, card = load_model(find_model(run))
    return Judged(
        name=run.name,
        encoder=card.model.encoder,
        parameters=sum(parameter.numel() for parameter in segmenter.parameters()),
        long_side=card.long_side,
        measure=found.score,
        score=found.scores[found.score],
        seconds=(marks[-1] - marks[0]) / found.images,
    )
