"""Batches on their way to the device."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from semiseg.data import Batch


def upload(batch: Batch, device: torch.device) -> Batch:
    """Copy a batch to the device, without waiting for it.

    To a GPU on a stream of its own: the host is ahead of the GPU, so the copy is made while the step before is
    computed. The loader has put the batch into page-locked memory.
    """
    if device.type != "cuda":
        return batch.to(device)
    side, own = _side_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(side):
        copied = batch.to(device)
    own.wait_stream(side)

    def in_use(tensor: Tensor) -> Tensor:
        tensor.record_stream(own)  # lest its memory be taken for the next copy while the step still reads it
        return tensor

    return copied.map(in_use)


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
