"""Reading weights from files, loading them strictly, and the published names of our parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from semiseg.errors import ModelError

SHOWN = 8
"""How many keys of a kind an error names."""

CLASSIFIERS = ("head.", "fc_norm.", "attn_pool.", "head_drop.")
"""What follows the last block in the files of timm; a segmenter has no use for it."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a flat file of named tensors, `.safetensors` or a torch checkpoint, without running code from it.

    Raises:
        ModelError: no such file, not readable, or something else than named tensors in it.
    """
    if not path.is_file():
        raise ModelError("no such file of weights", where=path, remedy="check the path given as --model.weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, SafetensorError) as error:
        raise ModelError(
            f"the file of weights cannot be read ({type(error).__name__})",
            where=path,
            expected="safetensors, or a torch file that holds tensors only",
            remedy="download it again, or convert it to safetensors",
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ModelError(
            "the file holds something else than named tensors",
            where=path,
            expected="a flat state dict",
            remedy="save the encoder's state dict alone",
        )
    return tensors


def timm_names(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename Meta's layout of DINOv2 to timm's, and leave out what only pre-training or a classifier needs.

    Meta's files differ by the `mask_token`, by the names of the gated MLP of the giant, and by a level of names where
    the blocks were grouped into chunks (`blocks.CHUNK.BLOCK`). Keys of timm's layout pass as they are.
    """
    renamed = {}
    for key, tensor in tensors.items():
        if key == "mask_token" or (key.startswith(CLASSIFIERS) and key not in wanted):
            continue
        key = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key)
        key = re.sub(r"^(blocks\.\d+\.mlp)\.w12\.", r"\1.fc1.", key)
        renamed[re.sub(r"^(blocks\.\d+\.mlp)\.w3\.", r"\1.fc2.", key)] = tensor
    return renamed


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], where: object) -> None:
    """Load `tensors` if they fit in every key and shape, else touch nothing.

    Raises:
        ModelError: names the keys that are missing, unexpected or wrongly shaped.
    """
    wanted = module.state_dict()
    problems = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - wanted.keys()),
        "wrongly shaped": [
            f"{key} {tuple(tensors[key].shape)} instead of {tuple(wanted[key].shape)}"
            for key in sorted(wanted.keys() & tensors.keys())
            if tensors[key].shape != wanted[key].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(_capped(kind, keys) for kind, keys in problems.items() if keys)
        raise ModelError(
            f"the weights do not fit the model: {listed}",
            where=where,
            expected=f"{len(wanted)} tensors of the model's names and shapes",
            remedy="choose the encoder and the sizes that the weights were made with",
        )
    module.load_state_dict(tensors)


def _capped(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:SHOWN])}{more})"


def load_encoder_weights(core: nn.Module, path: Path) -> None:
    """Load a file in Meta's or timm's layout, or of our own encoders, into an encoder's core.

    Raises:
        ModelError: unreadable, or it does not fit; nothing is loaded then.
    """
    load_strictly(core, timm_names(read_tensors(path), core.state_dict()), where=path)


_FUSE = r"^decoder\.fuse\.(\d)\."
_PUBLISHED = (
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

    Args:
        keys: keys of `Segmenter.state_dict()`.
        gated: the encoder is the giant, whose gated MLP has other names.

    Returns:
        Our key -> published name, one to one. A published checkpoint also holds `backbone.mask_token`, unused there.
    """
    return {key: _published_name(key, gated) for key in keys}


def _published_name(key: str, gated: bool) -> str:
    for pattern, name in _PUBLISHED:
        key = re.sub(pattern, name, key)
    return key.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.") if gated else key
