"""Checkpoints of the published UniMatch V2 (DINOv2 + DPT): their names of our parameters, reading and writing them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.files import whole_file
from semiseg.models.config import ModelConfig
from semiseg.models.foreign import StandIn, load_foreign
from semiseg.models.segmenter import Segmenter, build_segmenter
from semiseg.models.weights import misfits, read_tensors

Part = Literal["teacher", "student"]
"""Which of the two networks of a checkpoint: the EMA teacher (`model_ema`) or the student (`model`)."""

MASK_TOKEN = "backbone.mask_token"
"""(1, D), read by DINOv2's pre-training alone: the public code carries it along, our networks have no place for it."""

_PARTS: dict[Part, str] = {"teacher": "model_ema", "student": "model"}
_WRAPPED = "module."
_ENCODERS = {384: "dinov2_small", 768: "dinov2_base", 1024: "dinov2_large", 1536: "dinov2_giant"}
_GATED = "dinov2_giant"
_CLASSIFIER = "head.scratch.output_conv.2.weight"
_PROJECTIONS = tuple(f"head.projects.{level}.weight" for level in range(4))
_MAX_CLASSES = 255

_FUSE = r"^decoder\.fuse\.(\d)\."
_NAMES = (
    (r"^encoder\.backbone\.", lambda _: "backbone."),
    (r"^decoder\.project\.", lambda _: "head.projects."),
    (r"^decoder\.resize\.", lambda _: "head.resize_layers."),
    (r"^decoder\.reduce\.(\d)\.", lambda match: f"head.scratch.layer{int(match[1]) + 1}_rn."),
    (_FUSE + r"skip\.", lambda match: f"head.scratch.refinenet{int(match[1]) + 1}.resConfUnit1."),
    (_FUSE + r"merge\.", lambda match: f"head.scratch.refinenet{int(match[1]) + 1}.resConfUnit2."),
    (_FUSE + r"out\.", lambda match: f"head.scratch.refinenet{int(match[1]) + 1}.out_conv."),
    (r"^decoder\.output\.", lambda _: "head.scratch.output_conv.0."),
    (r"^decoder\.classifier\.", lambda _: "head.scratch.output_conv.2."),
)


def published_names(keys: Iterable[str], *, gated: bool = False) -> dict[str, str]:
    """Map the keys of a DINOv2 + DPT segmenter to the names in checkpoints of the published UniMatch V2.

    They are the same for segmentation and for change detection.

    Args:
        keys: keys of `Segmenter.state_dict()`.
        gated: the encoder is the giant, whose gated MLP has other names.

    Returns:
        Our key -> published name, one to one. A published checkpoint also holds `MASK_TOKEN`.
    """
    return {key: _published_name(key, gated) for key in keys}


def _published_name(key: str, gated: bool) -> str:
    for pattern, name in _NAMES:
        key = re.sub(pattern, name, key)
    return key.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.") if gated else key


class _Dropped:
    """Takes the place of NumPy's `scalar` and `dtype` while a checkpoint is read: accepts anything, keeps nothing.

    Released checkpoints hold their best figures as NumPy scalars, which nobody needs here. NumPy's own functions are
    not let in for them: `dtype.__setstate__` sets whatever flags a file asks for, of objects in a float64 for example.
    """

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_STAND_INS: list[StandIn] = [
    (_Dropped, name) for name in ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
]


def read_published(path: Path, part: Part | None = None) -> tuple[dict[str, Tensor], Part | None]:
    """Read one network's state dict from a checkpoint, without running code from it.

    Args:
        path: a torch file with `model`, and `model_ema` where there was a teacher, or with the state dict alone, or
            `.safetensors`. DistributedDataParallel's `module.` may stand before every key.
        part: which network. None: the teacher where there is one.

    Returns:
        The tensors by published name, and which network they are; None for a file that holds only one state dict.

    Raises:
        ModelError: no such file, not readable, no such part, or something else than named weights in it.
    """
    if not path.is_file():
        raise ModelError("no such checkpoint", where=path, remedy="check the path")
    content = read_tensors(path) if path.suffix == ".safetensors" else load_foreign(path, _STAND_INS)
    state, part = _choose(content, part, path)
    if not isinstance(state, dict) or not state or not all(map(_is_weight, state, state.values())):
        raise ModelError(
            "the file holds something else than named weights",
            where=path,
            expected="a checkpoint of UniMatch V2, or the state dict of its network",
            remedy="check that it is the checkpoint of a training (`best.pth` or `latest.pth`)",
        )
    wrapped = all(key.startswith(_WRAPPED) for key in state)
    return {key.removeprefix(_WRAPPED) if wrapped else key: tensor for key, tensor in state.items()}, part


def _choose(content: object, part: Part | None, path: Path) -> tuple[object, Part | None]:
    """Return what should be the state dict of `part`, of the first there is, or the content as it is."""
    found = {name: content[key] for name, key in _PARTS.items() if isinstance(content, dict) and key in content}
    chosen = part or next(iter(found), None)
    if chosen is None:
        return content, None
    if chosen not in found:
        raise ModelError(
            f"there is no {part} in the checkpoint",
            where=path,
            expected=f"a dictionary with {_PARTS[chosen]!r}",
            remedy=f"ask for the {next(iter(found))}" if found else "leave the part out: the file holds one network",
        )
    return found[chosen], chosen


def _is_weight(key: object, value: object) -> bool:
    return (
        isinstance(key, str)
        and isinstance(value, Tensor)
        and value.is_floating_point()
        and (value.layout, value.device.type) == (torch.strided, "cpu")
    )


def build_published(tensors: Mapping[str, Tensor], frames: int, where: object) -> Segmenter:
    """Build the segmenter that a published state dict belongs to: its sizes follow from the shapes.

    Args:
        tensors: by published name, without `module.`; in another precision than float32 they are converted.
        frames: 1 for segmentation, 2 for change detection; the two have the same state dict.
        where: the file, for errors.

    Raises:
        ModelError: no network of UniMatch V2; every key that is missing, unexpected or wrongly shaped is named.
    """
    config, num_classes = _infer(tensors, where)
    segmenter = build_segmenter(config, num_classes, frames)
    wanted, names = segmenter.state_dict(), _names_of(segmenter)
    token = torch.empty(1, segmenter.width)
    if problems := misfits(tensors, {MASK_TOKEN: token} | {names[key]: value for key, value in wanted.items()}):
        raise _unfit(config.encoder, [f"{kind}: {key}" for kind, keys in problems.items() for key in keys], where)
    segmenter.load_state_dict({key: tensors[names[key]] for key in wanted})
    return segmenter


def _infer(tensors: Mapping[str, Tensor], where: object) -> tuple[ModelConfig, int]:
    """Return the configuration and the number of classes that the shapes tell."""
    telling = (MASK_TOKEN, _CLASSIFIER, *_PROJECTIONS)
    if unclear := [key for key in telling if key not in tensors or tensors[key].ndim < 2]:
        raise _unfit("DINOv2 + DPT", [f"missing, or not of its shape: {key}" for key in unclear], where)
    width, (num_classes, features) = tensors[MASK_TOKEN].shape[-1], tensors[_CLASSIFIER].shape[:2]
    if width not in _ENCODERS:
        expected = ", ".join(map(str, _ENCODERS))
        raise _unfit("DINOv2 + DPT", [f"wrongly shaped: {MASK_TOKEN}, {width} instead of {expected}"], where)
    if num_classes > _MAX_CLASSES:
        raise _unfit("DINOv2 + DPT", [f"wrongly shaped: {_CLASSIFIER}, more than {_MAX_CLASSES} classes"], where)
    first, second, third, fourth = (len(tensors[key]) for key in _PROJECTIONS)
    level_widths = (first, second, third, fourth)
    config = ModelConfig(encoder=_ENCODERS[width], weights="random", features=features, level_widths=level_widths)
    return config, num_classes


def _unfit(network: str, problems: list[str], where: object) -> ModelError:
    listed = "\n".join(f"  {problem}" for problem in problems)
    return ModelError(
        f"this is not the state dict of a published {network} network:\n{listed}",
        where=where,
        remedy="convert a checkpoint of UniMatch V2 with DINOv2 and DPT; networks of another make have no place here",
    )


def _names_of(segmenter: Segmenter) -> dict[str, str]:
    return published_names(segmenter.state_dict(), gated=segmenter.config.encoder == _GATED)


def write_published(path: Path, segmenter: Segmenter, mask_token: Tensor | None = None) -> None:
    """Write a checkpoint as the public code's supervised training does: `{"model": state dict}`, keys with `module.`.

    The public code loads `checkpoint["model"]` into a network wrapped by DistributedDataParallel, which wants the
    prefix. Optimizer, epoch and figures are left out: it can be evaluated and built upon, but not resumed.

    Args:
        path: the file; it appears in one step.
        segmenter: with an encoder of the published system.
        mask_token: (1, D), or None for the zeros of an initialisation.

    Raises:
        ModelError: an encoder or decoder that the published system does not have.
        FileError: it cannot be written.
    """
    config = segmenter.config
    if config.encoder not in _ENCODERS.values() or (config.decoder, config.neck) != ("dpt", None):
        raise ModelError(
            f"the published layout has no place for the encoder {config.encoder} with the decoder {config.decoder}",
            expected=f"{', '.join(_ENCODERS.values())}, with dpt",
            remedy="use our model directory as it is",
        )
    token = torch.zeros(1, segmenter.width) if mask_token is None else mask_token
    names = _names_of(segmenter)
    state = {names[key]: tensor.detach().cpu() for key, tensor in segmenter.state_dict().items()}
    wrapped = {_WRAPPED + key: tensor for key, tensor in (state | {MASK_TOKEN: token}).items()}
    with whole_file(path) as draft:
        try:
            torch.save({_PARTS["student"]: wrapped}, draft)
        except RuntimeError as error:
            raise OSError("perhaps the disk is full") from error  # torch does not say
