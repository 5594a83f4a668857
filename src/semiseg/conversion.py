"""From a checkpoint of the published UniMatch V2 to a model directory of ours, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from semiseg.data.palette import default_palette
from semiseg.data.spec import DatasetSpec, read_spec, shipped_specs
from semiseg.errors import ModelError, closest
from semiseg.files import whole_file
from semiseg.models.card import ModelCard
from semiseg.models.published import MASK_TOKEN, Part, build_published, read_published, write_published
from semiseg.models.segmenter import load_model
from semiseg.models.store import find_model, save_model
from semiseg.models.weights import read_tensors

MASK_TOKEN_FILE = "mask_token.safetensors"
"""Beside a converted model whose mask token is not zero (of DINOv2, only the giant was published with one)."""

CROP, SLIDING_CROP, PAIR_CROP = 518, 798, 252
"""The published training crops: of photographs, of Cityscapes, and of pairs for change detection."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was converted; its text is ready to print.

    Attributes:
        path: what was written.
        part: which network of the checkpoint was read; None where there was only one.
        encoder: name of the encoder.
        classes: names of the classes.
        frames: 1 for segmentation, 2 for change detection.
        notes: what was assumed because no file says it.
    """

    path: Path
    part: Part | None
    encoder: str
    classes: tuple[str, ...]
    frames: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Return a line on the network, one for each note, and the path."""
        task = "change detection" if self.frames == 2 else "segmentation"
        network = f"{f'{self.part}: ' if self.part else ''}{self.encoder}, {task}, {len(self.classes)} classes"
        return "\n".join([network, *(f"note: {note}" for note in self.notes), f"written: {self.path}"])


def convert(
    source: Path, out: Path, *, spec: str | None = None, frames: int | None = None, part: Part | None = None
) -> Converted:
    """Convert a published checkpoint to a model directory, or a model directory or run to a published checkpoint.

    Both ways keep every weight (float32) bit by bit.

    Args:
        source: a checkpoint (`.pth`, `.pt`, `.safetensors`), else a model directory or the run directory around it.
        out: the model directory, new or empty; on the way back the new `.pth`.
        spec: name of the shipped data set whose classes, colours and protocol the model has. None: the only one with
            as many classes, else classes without names. For a checkpoint only, as are the next two.
        frames: 2 for a checkpoint of change detection, which nothing in it tells. None: those of the data set that is
            named, else 1.
        part: the `teacher` or the `student`. None: the teacher where there is one.

    Raises:
        ModelError: nothing to convert, `out` is taken, or the checkpoint is not of the published network: every key
            that does not fit is named.
    """
    if not source.is_dir():
        return _from_published(source, out, spec, frames, part)
    if (spec, frames, part) != (None, None, None):
        raise ModelError(
            "a model directory says its classes, frames and network itself",
            where=source,
            remedy="give spec, frames and part only with a published checkpoint",
        )
    return _to_published(source, out)


def _from_published(source: Path, out: Path, spec_name: str | None, frames: int | None, part: Part | None) -> Converted:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError("there is something already", where=out, remedy="name a new or an empty folder")
    named = _named_spec(spec_name) if spec_name else None
    frames = frames if frames is not None else len(named.frames) if named else 1
    tensors, part = read_published(source, part)
    segmenter = build_published(tensors, frames, source)
    spec, notes = (named, []) if named else _spec_of(segmenter.num_classes, frames)
    if named:
        _refuse_other(named, segmenter.num_classes, frames, source)
    if segmenter.num_classes == 2 and frames == 1:
        notes = [*notes, "taken for segmentation; change detection has the same weights and needs frames 2"]
    card = ModelCard(
        classes=spec.classes,
        palette=spec.palette,
        ignore_value=spec.ignore_value,
        frames=frames,
        crop=PAIR_CROP if frames == 2 else SLIDING_CROP if spec.protocol == "sliding" else CROP,
        protocol=spec.protocol,
        # What the published trainings begin with.
        model=replace(segmenter.config, weights="hub"),
    )
    if tensors[MASK_TOKEN].any():
        with whole_file(out / MASK_TOKEN_FILE) as draft:
            save_file({MASK_TOKEN: tensors[MASK_TOKEN].contiguous()}, draft)
    save_model(out, segmenter, card)
    return _converted(out, card, part, notes)


def _named_spec(name: str) -> DatasetSpec:
    specs = shipped_specs()
    if name not in specs:
        raise ModelError(
            f"unknown data set {name!r}{closest(name, specs)}",
            expected=", ".join(specs),
            remedy="name one of these, or none: the classes then have no names",
        )
    return read_spec(specs[name])


def _refuse_other(spec: DatasetSpec, num_classes: int, frames: int, source: Path) -> None:
    if spec.num_classes != num_classes:
        raise ModelError(
            f"the checkpoint has {num_classes} classes, the data set {spec.name} has {spec.num_classes}",
            where=source,
            remedy="name the data set that it was trained on, or none",
        )
    if len(spec.frames) != frames:
        raise ModelError(
            f"frames is {frames}, the data set {spec.name} has {len(spec.frames)}",
            where=source,
            remedy="leave frames out, or name another data set",
        )


def _spec_of(num_classes: int, frames: int) -> tuple[DatasetSpec, list[str]]:
    """Return the shipped data set of so many classes and frames, else one without names, and a note on it."""
    known = map(read_spec, shipped_specs().values())
    found = [spec for spec in known if (spec.num_classes, len(spec.frames)) == (num_classes, frames)]
    candidates = " or ".join(spec.name for spec in found) or "no data set that is known"
    if len({spec.classes for spec in found}) == 1:
        only = "data set" if len(found) == 1 else "data sets"
        return found[0], [f"the classes are those of {candidates}, the only known {only} with {num_classes}"]
    classes = tuple(f"class_{index}" for index in range(num_classes))
    unnamed = DatasetSpec(name="unnamed", classes=classes, palette=default_palette(num_classes))
    return unnamed, [f"{num_classes} classes: {candidates}; they are called class_0, class_1 and so on"]


def _to_published(source: Path, out: Path) -> Converted:
    if out.suffix != ".pth" or out.exists():
        raise ModelError(
            "there is something already" if out.exists() else "this is no name for a checkpoint",
            where=out,
            expected="a new file that ends in .pth",
            remedy="choose another name",
        )
    directory = find_model(source)
    segmenter, card = load_model(directory)
    write_published(out, segmenter, _mask_token(directory, segmenter.width))
    return _converted(out, card, None, [])


def _mask_token(directory: Path, width: int) -> Tensor | None:
    path = directory / MASK_TOKEN_FILE
    if not path.is_file():
        return None
    tensors = read_tensors(path)
    if {key: tuple(tensor.shape) for key, tensor in tensors.items()} != {MASK_TOKEN: (1, width)}:
        raise ModelError(
            "the mask token is of another model", where=path, remedy="delete the file; prediction does not need it"
        )
    return tensors[MASK_TOKEN]


def _converted(path: Path, card: ModelCard, part: Part | None, notes: list[str]) -> Converted:
    return Converted(
        path=path,
        part=part,
        encoder=card.model.encoder,
        classes=card.classes,
        frames=card.frames,
        notes=tuple(notes),
    )
