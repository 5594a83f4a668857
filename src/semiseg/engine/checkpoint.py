"""Checkpoints without pickle: safetensors and JSON, complete or not there, the two newest kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from semiseg.engine.tensor_file import write_tensors
from semiseg.errors import RunError
from semiseg.files import read_json, remove_drafts, sha256_of, whole_folder

_TENSORS, _STATE, _MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a run.

    Attributes:
        step: optimizer steps done.
        tensors: models, optimizer and meter, by name.
        state: everything else, as JSON.
    """

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below a prefix, without it."""
        return {
            name.removeprefix(prefix + "/"): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix + "/")
        }


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint below `folder` and drop all but the newest two.

    It appears when it is whole, with the checksums of its files, so that a run killed at any moment, or one that finds
    the disk full, leaves whole checkpoints.

    Raises:
        FileError: it cannot be written; the earlier ones stay.
    """
    remove_drafts(folder)
    final = folder / _name(checkpoint.step)
    state = json.dumps({"step": checkpoint.step, **checkpoint.state}, indent=1).encode()
    with whole_folder(final) as draft:
        (draft / _STATE).write_bytes(state)
        sums = {
            _TENSORS: write_tensors(draft / _TENSORS, checkpoint.tensors),
            _STATE: hashlib.sha256(state).hexdigest(),
        }
        (draft / _MANIFEST).write_text(json.dumps(sums, indent=1), "utf-8")
        shutil.rmtree(final, ignore_errors=True)
    for old in _checkpoints(folder)[:-_KEPT]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest whole checkpoint, or None where there is none at all.

    Args:
        folder: the run's `checkpoints` folder.
        warn: told of every damaged checkpoint that is passed over.

    Raises:
        RunError: there are checkpoints, but all are damaged.
    """
    found = _checkpoints(folder)
    for path in reversed(found):
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            warn(f"checkpoint {path.name} is damaged ({error}); trying the one before")
    if found:
        raise RunError(
            "every checkpoint is damaged", where=folder, remedy="restore the folder, or start again under another name"
        )
    return None


def drop_later(folder: Path, step: int) -> None:
    """Remove the checkpoints after the one that a run continues from, which `load_checkpoint` has passed over.

    They would count among the newest two, and each damaged one that is kept costs a whole one.
    """
    for path in _checkpoints(folder):
        if path.name > _name(step):
            shutil.rmtree(path)


def require_shapes(checkpoint: Checkpoint, wanted: Mapping[str, Mapping[str, Tensor]], where: object) -> None:
    """Check that a checkpoint is of the network that it is about to be loaded into.

    Args:
        checkpoint: what was read.
        wanted: the tensors of each part as they are now, by name.
        where: its folder, for the message.

    Raises:
        RunError: a tensor is missing, is one too many or has another shape.
    """
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items() if name.split("/")[0] in wanted}
    now = {f"{part}/{name}": tuple(tensor.shape) for part, named in wanted.items() for name, tensor in named.items()}
    differing = [name for name in sorted(found | now) if found.get(name) != now.get(name)]
    if differing:
        lines = [
            f"{name}: {found.get(name, 'none')} in the checkpoint, {now.get(name, 'none')} now" for name in differing
        ]
        raise RunError(
            "the checkpoint is of another network:\n    " + "\n    ".join(lines[:3]),
            where=where,
            remedy="resume with the classes and the model that the run began with, or start anew with --run.name NAME",
        )


def _read(path: Path) -> Checkpoint:
    expected = read_json(path / _MANIFEST)
    if expected != {name: sha256_of(path / name) for name in (_TENSORS, _STATE)}:
        raise ValueError("its checksums do not fit")
    state = read_json(path / _STATE)
    step = state.pop("step", None) if isinstance(state, dict) else None
    if type(step) is not int or step < 0:
        raise ValueError("it names no step")
    return Checkpoint(step, load_file(path / _TENSORS), state)


def _name(step: int) -> str:
    return f"step_{step:08d}"


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*"))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as tensors named `INDEX/NAME`; rates are not state, the schedule sets them."""
    state = optimizer.state_dict()["state"]
    return {f"{index}/{name}": torch.as_tensor(value) for index, slot in state.items() for name, value in slot.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undo `optimizer_tensors` for an optimizer over the same parameters.

    Raises:
        KeyError: a tensor is of no parameter.
        ValueError: a tensor has another shape than its parameter.
    """
    content = optimizer.state_dict()
    parameters = dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = _laid_out_like(parameters[int(index)], tensor, name)
    content["state"] = state
    optimizer.load_state_dict(content)


def _laid_out_like(parameter: Tensor, tensor: Tensor, name: str) -> Tensor:
    """Return a tensor of the optimizer with the strides of its parameter, or a scalar as it is.

    A fused optimizer walks through the memory of both side by side and does not look at strides.

    Raises:
        ValueError: another shape than the parameter's.
    """
    if tensor.shape == torch.Size():
        return tensor
    if tensor.shape != parameter.shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}")
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
