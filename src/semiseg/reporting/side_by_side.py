"""The same val images by every run: image, truth, and what each model sees in it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.data import DataConfig, DatasetSpec, Sample, find_judges
from semiseg.data.bands import read_picture
from semiseg.data.fingerprints import take_fingerprint
from semiseg.data.palette import IGNORED, Colour
from semiseg.data.spec import read_class_ids
from semiseg.engine.gallery import spread
from semiseg.engine.pictures import FALSE_ALARM, MISSED, indexed_image
from semiseg.engine.rundir import RunDirectory
from semiseg.errors import DataError, ModelError, RunError, SemisegError
from semiseg.prediction import Predictor
from semiseg.reporting.record import RunRecord
from semiseg.reporting.sheets import packed

_IMAGES = 4
_LONGEST = 480
"""Pixels of a picture's longer side on the page."""
_MISTAKES = (("missed change", MISSED), ("false change", FALSE_ALARM))
"""Of change detection: how a change is drawn that was not found, and one that was found where there is none."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One picture: what it is, its `data:` address, and what is to be said of it."""

    name: str
    data: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Rows of pictures, or why there are none.

    Attributes:
        rows: of each val image its name and its pictures.
        legend: the classes that occur in them, with their colours.
        notes: what is missing, and why.
        parameters: number of the model's parameters, by the path of each run that left a model.
    """

    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    legend: tuple[tuple[str, Colour], ...]
    notes: tuple[str, ...]
    parameters: dict[str, int]


@dataclass(frozen=True)
class _Val:
    """Some val images: what they are of, and of each its frames (T, H, W, 3) and its truth (H, W)."""

    spec: DatasetSpec
    samples: tuple[Sample, ...]
    frames: tuple[NDArray[np.uint8], ...]
    truths: tuple[NDArray[np.uint8], ...]


def side_by_side(runs: Mapping[str, RunRecord], device: str = "auto") -> SideBySide:
    """Predict a few val images, evenly spread over their list, with the model of each run.

    Args:
        runs: runs of the same classes by what the pictures call them; the first whose val images can be read gives
            them.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: no such device here.
    """
    val, notes = _find_val(tuple(runs.values()))
    masks: dict[str, list[NDArray[np.uint8]]] = {}
    parameters = {}
    for name, run in runs.items():
        try:
            predictor = Predictor.load(run.path, device)
            parameters[str(run.path)] = sum(weight.numel() for weight in predictor.segmenter.parameters())
            if val:
                masks[name] = _predict(predictor, val)
        except (DataError, ModelError) as error:
            notes.append(f"Without {name}: {str(error).splitlines()[0]}.")
    return SideBySide(
        rows=_rows(val, masks) if val else (),
        legend=_legend(val, masks) if val else (),
        notes=tuple(notes),
        parameters=parameters,
    )


def _find_val(runs: Sequence[RunRecord]) -> tuple[_Val | None, list[str]]:
    """Read some val images of the first run that has them, or say why there are none."""
    reasons = []
    for run in runs:
        try:
            return _read_val(run)
        except SemisegError as error:
            reasons.append(str(error).splitlines()[0])
    return None, [f"No pictures: the val images of these runs cannot be read here ({reasons[0]})."]


def _data_config(run: RunRecord) -> DataConfig:
    known = {field.name for field in fields(DataConfig)}
    settings = run.config.get("data")
    try:
        return DataConfig(**{key: value for key, value in dict(settings or {}).items() if key in known})
    except (TypeError, ValueError) as error:
        raise RunError("unreadable settings of the data", where=run.path, remedy="restore config.yaml") from error


def _read_val(run: RunRecord) -> tuple[_Val, list[str]]:
    """Read some val images of a run, and say what is not as it was."""
    config = _data_config(run)
    judges = find_judges(None, config, RunDirectory(run.path).data)
    # As large as they are: each model sees them in the size that it was trained on.
    spec, chosen = replace(judges.spec, long_side=None), tuple(spread(judges.val.samples, _IMAGES))
    if not chosen:
        raise DataError("no val images", remedy="name a list with data.val")
    frames = tuple(
        np.stack([np.asarray(read_picture(path, config.max_pixels, spec.shown)) for path in sample.frames])
        for sample in chosen
    )
    masks = [sample.mask for sample in chosen if sample.mask]
    truths = tuple(read_class_ids(mask, spec, config.max_pixels) for mask in masks)
    paths = (path for sample in chosen for path in (*sample.frames, sample.mask) if path)
    notes = judges.changed({str(path): take_fingerprint(path, hashed=True) for path in paths})
    return _Val(spec, chosen, frames, truths), [f"{note[0].upper()}{note[1:]}." for note in (*judges.notes, *notes)]


def _rows(val: _Val, masks: Mapping[str, Sequence[NDArray[np.uint8]]]) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    rows = []
    for place, (sample, frames_THW3, truth_HW) in enumerate(zip(val.samples, val.frames, val.truths, strict=True)):
        cells = [
            *_given(frames_THW3, truth_HW, val.spec),
            *(_predicted(name, found[place], truth_HW, val.spec) for name, found in masks.items()),
        ]
        rows.append((sample.id, tuple(cells)))
    return tuple(rows)


def _given(frames_THW3: NDArray[np.uint8], truth_HW: NDArray[np.uint8], spec: DatasetSpec) -> list[Cell]:
    """Return the pictures that are there before any model: the frames and the truth."""
    names = ("image",) if len(frames_THW3) == 1 else ("before", "after")
    frames = [packed(_small(Image.fromarray(frame))) for frame in frames_THW3]
    given = [Cell(name=name, data=data) for name, data in zip(names, frames, strict=True)]
    return [*given, Cell(name="truth", data=_mask(truth_HW, spec.palette))]


def _predict(predictor: Predictor, val: _Val) -> list[NDArray[np.uint8]]:
    if predictor.card.classes != val.spec.classes:
        raise DataError("the data set has other classes by now than the model", remedy="restore dataset.yaml")
    return [predictor.mask(*frames_THW3) for frames_THW3 in val.frames]


def _predicted(name: str, mask_HW: NDArray[np.uint8], truth_HW: NDArray[np.uint8], spec: DatasetSpec) -> Cell:
    counted = truth_HW != spec.ignore_value
    note = f"{(mask_HW == truth_HW)[counted].mean():.0%} of the pixels right" if counted.any() else ""
    if spec.score != "changed_iou":
        return Cell(name=name, data=_mask(mask_HW, spec.palette), note=note)
    marked_HW = mask_HW.copy()
    marked_HW[(truth_HW == 1) & (mask_HW == 0)] = 2
    marked_HW[(truth_HW == 0) & (mask_HW == 1)] = 3
    return Cell(name=name, data=_mask(marked_HW, (*spec.palette, *(colour for _, colour in _MISTAKES))), note=note)


def _mask(mask_HW: NDArray[np.uint8], palette: Sequence[Colour]) -> str:
    return packed(_small(indexed_image(mask_HW, palette)), "PNG")


def _small(image: Image.Image) -> Image.Image:
    """Shrink a picture to what the page shows; class ids are picked, not mixed."""
    scale = min(1.0, _LONGEST / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST if image.mode == "P" else Image.Resampling.LANCZOS)


def _legend(val: _Val, masks: Mapping[str, Sequence[NDArray[np.uint8]]]) -> tuple[tuple[str, Colour], ...]:
    """Name the classes that occur, and what is drawn besides."""
    shown = (*val.truths, *(mask for found in masks.values() for mask in found))
    ids = {int(id_) for mask in shown for id_ in np.unique(mask)}
    pairs = zip(val.spec.classes, val.spec.palette, strict=True)
    classes = [pair for id_, pair in enumerate(pairs) if id_ in ids]
    mistakes = _MISTAKES if val.spec.score == "changed_iou" else ()
    ignored = (("ignored", IGNORED),) if val.spec.ignore_value in ids else ()
    return (*classes, *mistakes, *ignored)
