"""Tensors to a file of safetensors, hashed on the way, so that nothing is read again; and copies in main memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

_CHUNK = 2**24
"""Bytes that are written and hashed at once."""
_NAMES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"},
}
"""What the format calls the types (https://huggingface.co/docs/safetensors, Format)."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors so that `safetensors.torch.load_file` reads them, and return the SHA-256 of the file.

    `safetensors.torch.save_file` gives no hash, and the file would have to be read again for it.

    Args:
        path: the file; an existing one is replaced.
        tensors: by name, on any device; one that is contiguous in main memory is not copied.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: it cannot be written.
    """
    # As the library does: the widest types first, so that each tensor begins at a multiple of its type's width.
    ordered = dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))
    seen = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for part in (_header(ordered), *map(_bytes_of, ordered.values())):
            for start in range(0, len(part), _CHUNK):
                chunk = part[start : start + _CHUNK]
                seen.update(chunk)
                while chunk:  # the system may take less than it is given
                    chunk = chunk[file.write(chunk) :]
    return seen.hexdigest()


def _header(tensors: Mapping[str, Tensor]) -> memoryview:
    entries, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(len(text).to_bytes(8, "little") + text)


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data


class HostCopy:
    """Room in main memory for copies of tensors, used again by each copy; pinned for those of a GPU."""

    def __init__(self) -> None:
        """Start without room; the first copy makes it."""
        self._copies: dict[str, Tensor] = {}

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copy tensors; the copies of the call before are overwritten.

        Args:
            tensors: by name, on one device.
        """
        if {name: _form(tensor) for name, tensor in tensors.items()} != {
            name: _form(copy) for name, copy in self._copies.items()
        }:
            self._copies = dict(zip(tensors, _room_for(tensors.values()), strict=True))
        for name, tensor in tensors.items():
            self._copies[name].copy_(tensor.detach(), non_blocking=True)
        for device in {tensor.device for tensor in tensors.values() if tensor.device.type == "cuda"}:
            torch.cuda.current_stream(device).synchronize()
        return dict(self._copies)


def _form(tensor: Tensor) -> tuple[torch.dtype, torch.Size]:
    return tensor.dtype, tensor.shape


_ROOM = 2**28
"""Bytes of a block that copies lie in: thousands of small pinned tensors would each cost a call of the driver, and one
block for all up to twice its size, as torch rounds pinned blocks up to powers of two."""
_ALIGNED = 64


def _room_for(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return contiguous tensors of the same types and shapes in main memory, which lie side by side in a few blocks."""
    found, block, taken = list[Tensor](), torch.empty(0, dtype=torch.uint8), 0
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if taken + size > len(block):
            pinned = tensor.device.type == "cuda"
            block, taken = torch.empty(max(_ROOM, size), dtype=torch.uint8, pin_memory=pinned), 0
        found.append(block[taken : taken + size].view(tensor.dtype).view(tensor.shape))
        taken += -(-size // _ALIGNED) * _ALIGNED
    return found
