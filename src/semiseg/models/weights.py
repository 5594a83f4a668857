"""Reading weights from files and loading them strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from semiseg.errors import ModelError

SHOWN = 8
"""How many keys of a kind an error names."""

CLASSIFIERS = ("head.", "fc.", "fc_norm.", "attn_pool.", "head_drop.", "neck.")
"""What follows the last level in files of encoders; a segmenter has no use for it."""


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

    Meta's files differ by the `mask_token`, by the names of the gated MLP of the giant, by a level of names where the
    blocks were grouped into chunks (`blocks.CHUNK.BLOCK`), and by the position of the class token, which timm adds to
    the token itself where there are registers. Keys of timm's layout pass as they are.
    """
    renamed = {}
    for key, tensor in _merged_registers(tensors).items():
        if key == "mask_token" or (key.startswith(CLASSIFIERS) and key not in wanted):
            continue
        key = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key)
        key = re.sub(r"^(blocks\.\d+\.mlp)\.w12\.", r"\1.fc1.", key)
        renamed[re.sub(r"^(blocks\.\d+\.mlp)\.w3\.", r"\1.fc2.", key)] = tensor
    return renamed


def _merged_registers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the tokens of Meta's DINOv2 with registers to timm's form; other tensors pass as they are."""
    if not {"register_tokens", "cls_token", "pos_embed"} <= tensors.keys():
        return dict(tensors)
    merged = {key: tensor for key, tensor in tensors.items() if key != "register_tokens"}
    positions_1ND = tensors["pos_embed"]
    merged["reg_token"] = tensors["register_tokens"]
    merged["cls_token"] = tensors["cls_token"] + positions_1ND[:, :1]
    merged["pos_embed"] = positions_1ND[:, 1:]
    return merged


def misfits(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the keys that are missing, unexpected or wrongly shaped, sorted, by these words; {} if all fit."""
    problems = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - wanted.keys()),
        "wrongly shaped": [
            f"{key} {tuple(tensors[key].shape)} instead of {tuple(wanted[key].shape)}"
            for key in sorted(wanted.keys() & tensors.keys())
            if tensors[key].shape != wanted[key].shape
        ],
    }
    return {kind: keys for kind, keys in problems.items() if keys}


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], where: object) -> None:
    """Load `tensors` if they fit in every key and shape, else touch nothing.

    Raises:
        ModelError: names the keys that are missing, unexpected or wrongly shaped.
    """
    wanted = module.state_dict()
    if problems := misfits(tensors, wanted):
        listed = "; ".join(_capped(kind, keys) for kind, keys in problems.items())
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
