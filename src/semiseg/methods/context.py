"""What a method is told about the run that it is built for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semiseg.data import DatasetSpec
from semiseg.models import ModelConfig

Normalize = Callable[[Tensor], Tensor]
"""Turns `images_BTCHW`, uint8 or float in 0..1, into the encoder's input."""


def alone(tensor: Tensor) -> Tensor:
    """Gather over one process: the tensor itself."""
    return tensor


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a method is told when it is built, before anything of the run is written.

    Attributes:
        spec: the data set: classes, ignore value, frames.
        model: the student's configuration.
        crop: side of the training crop, pixels.
        seed: the run's seed.
        device: where the student is.
        normalize: the student's own normalisation.
        gather: concatenates a tensor of one shape over all processes along its first dimension, in their order; it must
            be called by all of them.
    """

    spec: DatasetSpec
    model: ModelConfig
    crop: int
    seed: int
    device: torch.device
    normalize: Normalize
    gather: Callable[[Tensor], Tensor] = alone
