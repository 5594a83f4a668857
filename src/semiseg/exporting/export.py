"""Write a model as one file, and hold it against the model before anybody trusts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from semiseg.api import open_judges
from semiseg.data import DataConfig
from semiseg.data.spec import SCORE_NAMES, Score
from semiseg.engine.distributed import Processes
from semiseg.engine.evaluation import Evaluator
from semiseg.engine.gallery import spread
from semiseg.engine.inference import Scorer, inference_of
from semiseg.errors import ConfigError, DataError, SemisegError
from semiseg.exporting.checking import (
    Comparison,
    ExportedScorer,
    Runner,
    compare,
    feeds_of,
    onnx_runner,
    torch_runner,
)
from semiseg.exporting.graph import INPUTS, Graph, Size, refusal, require_free, trace
from semiseg.exporting.onnx_file import Arithmetic, Feed, about, require_extra, to_fp16, to_int8, to_onnx, write_onnx
from semiseg.files import whole_file
from semiseg.models import ModelCard, Segmenter, find_model, load_model
from semiseg.prediction import Picture
from semiseg.prediction.plan import pictures_of

_COMPARED = 16
"""Pictures that are compared pixel by pixel, spread over those that are given."""
_CALIBRATED = 32
"""Pictures that the ranges of int8 are taken from."""
_CPU = torch.device("cpu")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What model and file reach on val images."""

    score: Score
    """Name of the figure that the model is judged by."""
    images: int
    """How many val images were judged."""
    model: float
    """The figure of the model in fp32, 0 to 1."""
    exported: float
    """The figure of the file."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file that was written, and how good it is."""

    path: Path
    bytes: int
    """Its size."""
    precision: Arithmetic
    """What it computes in."""
    size: Size | None
    """Height and width of the pictures that it takes; None: any."""
    comparison: Comparison
    """How it differs from the model in fp32."""
    judgement: Judgement | None
    """What both reach; None where there were no masks to judge by."""
    notes: tuple[str, ...]
    """What else is to be said."""

    def lines(self) -> list[str]:
        """Say what was written and how good it is."""
        held, judged = self.comparison, self.judgement
        takes = f"pictures of {self.size[0]} x {self.size[1]}" if self.size else "pictures of any size"
        lines = [
            f"{self.path}: {self.bytes / 1e6:.1f} MB, {self.precision}, {takes}",
            f"against the model in fp32, {held.pictures} pictures: largest difference of a logit "
            f"{held.largest_difference:.2g}, the class of {held.classes_differ:.4%} of the pixels differs",
            f"one picture of {held.size[0]} x {held.size[1]}, {held.threads} threads: "
            f"torch {held.torch_ms:.1f} ms, exported {held.exported_ms:.1f} ms",
        ]
        if judged:
            name = SCORE_NAMES[judged.score]
            lines.append(
                f"{name} on {judged.images} val images: model {judged.model:.2%}, exported {judged.exported:.2%} "
                f"({100 * (judged.exported - judged.model):+.2f} points)"
            )
        return [*lines, *self.notes]


def export(
    model: Path | str,
    out: Path | str,
    *,
    precision: Arithmetic = "fp32",
    size: Size | None = None,
    check: Path | str | None = None,
    data: DataConfig | None = None,
    images: int = 100,
    progress: Progress = lambda done, count: None,
) -> Exported:
    """Write a model as `FILE.onnx` (needs the extra `export`) or, through torch.export, as `FILE.pt2`.

    The graph takes pictures from 0 to 1, normalises them, brings them to multiples of the patch as the protocol
    `original` does, and returns logits of their size. Windows and tiles are left to whoever runs it. What was written
    is run, on pictures: those of `check`, else the val images of the model's run, else noise.

    Args:
        model: a run directory, or a model directory.
        out: the file to write; its suffix says the format.
        precision: what an ONNX file computes in. `int8` takes the ranges of its values from the pictures.
        size: height and width of all pictures that the file will see; None: any.
        check: an image, a folder or a list, as `semiseg.predict` takes them.
        data: val images with masks, as `semiseg.evaluate` takes them.
        images: of the val images at most so many are judged, spread over all.
        progress: called with the number of val images done and of all.

    Raises:
        ModelError: no model, one that cannot be exported, or the extra is missing.
        ConfigError: another suffix, or a precision or size that cannot be.
        DataError: pictures that cannot be used.
        FileError: the file cannot be written.
    """
    path = Path(out)
    _require_possible(path, precision, size)
    directory = find_model(model)
    segmenter, card = load_model(directory)
    evaluator = None if size else _evaluator(directory, card, data, segmenter, images)
    pictures, notes = _pictures(check, card, evaluator)
    if precision == "int8" and not pictures:
        raise ConfigError("int8 needs pictures to calibrate on", remedy="name some with --check IMAGES")
    runner = _write(segmenter, card, path, precision, size, pictures)
    feeds = list(feeds_of(spread(pictures, _COMPARED), card, size)) or [_noise(card)]
    return Exported(
        path=path,
        bytes=path.stat().st_size,
        precision=precision,
        size=size,
        comparison=compare(torch_runner(Graph(segmenter, fixed=False)), runner, feeds),
        judgement=_judge(evaluator, segmenter, runner, progress) if evaluator else None,
        notes=notes,
    )


def _require_possible(path: Path, precision: Arithmetic, size: Size | None) -> None:
    if path.suffix not in (".onnx", ".pt2"):
        raise ConfigError(
            f"no format goes by the suffix {path.suffix!r}",
            where=path,
            expected="FILE.onnx, or FILE.pt2 of torch.export",
            remedy="rename the file",
        )
    if path.suffix == ".pt2" and precision != "fp32":
        raise ConfigError(
            f"a .pt2 of {precision} cannot be written", expected="fp32", remedy="leave --precision out, or name a .onnx"
        )
    if size is not None and min(size) < 1:
        raise ConfigError(
            f"size {size[0]} x {size[1]}", expected="two sides of at least one pixel", remedy="correct --size"
        )
    if path.suffix == ".onnx":
        require_extra()


def _evaluator(
    directory: Path, card: ModelCard, data: DataConfig | None, segmenter: Segmenter, images: int
) -> Evaluator | None:
    """Return what judges on some val images of the model's run, or of the data that are named; None without any."""
    inference = inference_of(card, segmenter.patch, device=_CPU, precision="fp32")
    try:
        _, evaluator = open_judges(directory, card, data, inference)
    except DataError:
        if data is not None:
            raise
        return None
    return replace(evaluator, samples=spread(evaluator.samples, images))


def _pictures(
    check: Path | str | None, card: ModelCard, evaluator: Evaluator | None
) -> tuple[Sequence[Sequence[Picture]], tuple[str, ...]]:
    """Return the samples to compare on, and what is to be said of them."""
    if check is not None:
        return pictures_of(Path(check), card.frames), ()
    if evaluator is not None:
        return [sample.frames for sample in evaluator.samples], ()
    return [], ("there are no pictures to check it on, so it was compared on noise: name some with --check IMAGES",)


def _noise(card: ModelCard) -> Feed:
    pixels = np.random.default_rng(0).random((1, 3, card.crop, card.crop), dtype=np.float32)
    return dict.fromkeys(INPUTS[card.frames], pixels)


def _write(
    segmenter: Segmenter,
    card: ModelCard,
    path: Path,
    precision: Arithmetic,
    size: Size | None,
    pictures: Sequence[Sequence[Picture]],
) -> Runner:
    """Write the file and return what runs it."""
    program = trace(segmenter, size, for_onnx=path.suffix == ".onnx")
    facts = {"patch": segmenter.patch, "precision": precision, "mean_inside": _three(segmenter.mean)}
    facts |= {"std_inside": _three(segmenter.std)}
    if path.suffix == ".pt2":
        if size is None:
            require_free(program, segmenter)
        _write_torch(program, path, about(card) | facts)
        return torch_runner(program.module())
    try:
        model = to_onnx(program, card, facts)
        if precision == "fp16":
            model = to_fp16(model)
        elif precision == "int8":
            model = to_int8(model, feeds_of(spread(pictures, _CALIBRATED), card, size))
    except SemisegError:
        raise
    except Exception as error:  # the exporter and its passes raise whatever they meet
        raise refusal(segmenter, size, error) from error
    write_onnx(model, path)
    return onnx_runner(path)


def _three(values: torch.Tensor) -> list[float]:
    return [round(float(value), 6) for value in values.flatten()]


def _write_torch(program: ExportedProgram, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a program of torch.export; `semiseg.json` in it says how to use it."""
    with whole_file(path) as draft, draft.open("wb") as file:
        torch.export.save(program, file, extra_files={"semiseg.json": json.dumps(facts)})


def _judge(evaluator: Evaluator, segmenter: Segmenter, runner: Runner, progress: Progress) -> Judgement:
    """Evaluate model and file on the same val images, by the model's protocol."""
    count = len(evaluator.samples)
    progress(0, count)
    models: dict[str, Scorer] = {
        "model": segmenter,
        "exported": ExportedScorer(runner, segmenter.patch, segmenter.num_classes),
    }
    found = evaluator.evaluate(models, Processes(0, 1, _CPU), lambda done: progress(done, count))
    return Judgement(
        score=evaluator.spec.score,
        images=count,
        model=found["model"].judged_by,
        exported=found["exported"].judged_by,
    )
