"""Reading weights from files and loading them strictly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models.foreign import load_foreign

MAX_HEADER_BYTES = 2**23
"""A file of safetensors with a longer header, which names its tensors, is refused; that of the giant takes 80 kB."""

_TYPES = {
    **{f"F{bits}": getattr(torch, f"float{bits}") for bits in (16, 32, 64)},
    **{f"I{bits}": getattr(torch, f"int{bits}") for bits in (8, 16, 32, 64)},
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

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
    if path.suffix == ".safetensors":
        with _readable(path):
            _refuse_long_header(path)
            return load_file(path)
    tensors = load_foreign(path)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ModelError(
            "the file holds something else than named tensors",
            where=path,
            expected="a flat state dict",
            remedy="save the encoder's state dict alone",
        )
    return tensors


def announced_tensors(path: Path) -> dict[str, Tensor]:
    """Return the names, shapes and types of a safetensors file as tensors without content, from its header alone.

    Raises:
        ModelError: no such file, not readable, or a type that torch does not have.
    """
    if not path.is_file():
        raise ModelError("no such file of weights", where=path, remedy="copy the whole model directory")
    with _readable(path):
        _refuse_long_header(path)
        with safe_open(path, "pt") as file:
            names = file.keys()
            parts = {name: file.get_slice(name) for name in names}
            return {
                name: torch.empty(part.get_shape(), dtype=_TYPES[part.get_dtype()], device="meta")
                for name, part in parts.items()
            }


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what readers raise into one error: of a damaged or hostile file that is nearly anything."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the file of weights cannot be read ({type(error).__name__})",
            where=path,
            expected="safetensors",
            remedy="download or save it again",
        ) from error


def _refuse_long_header(path: Path) -> None:
    """Refuse a header that would take more memory than the names of any network."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise ModelError(
            f"the file of weights cannot be read (it claims a header of {length:,} bytes)",
            where=path,
            expected=f"at most {MAX_HEADER_BYTES:,}",
            remedy="download it again",
        )


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


def refuse_misfits(problems: Mapping[str, list[str]], count: int, where: object) -> None:
    """Raise for the problems that `misfits` returned, if there are any.

    Raises:
        ModelError: names the keys, by kind; `count` tensors were expected.
    """
    if problems:
        listed = "; ".join(_capped(kind, keys) for kind, keys in problems.items())
        raise ModelError(
            f"the weights do not fit the model: {listed}",
            where=where,
            expected=f"{count} tensors of the model's names and shapes",
            remedy="choose the encoder and the sizes that the weights were made with",
        )


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], where: object) -> None:
    """Load `tensors` if they fit in every key and shape, else touch nothing.

    Raises:
        ModelError: names the keys that are missing, unexpected or wrongly shaped.
    """
    wanted = module.state_dict()
    refuse_misfits(misfits(tensors, wanted), len(wanted), where)
    module.load_state_dict(tensors)


def _capped(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:SHOWN])}{more})"
