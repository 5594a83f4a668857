"""The blocks of the encoder and the decoder compiled for the training, by torch's inductor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from semiseg.models.segmenter import Segmenter


def compile_parts(model: Segmenter, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the blocks of a model's encoder and its decoder at their first call, in place: its keys stay.

    A copy of the model is not compiled. Each shape of input is compiled for itself.

    Args:
        model: what a training runs.
        backend: of `torch.compile`.
    """
    for module in (*model.encoder.blocks_in_order(), model.decoder):
        module.compile(backend=backend, dynamic=False)


@contextmanager
def as_written() -> Iterator[None]:
    """Run what is compiled as it is written: images of many sizes, as in an evaluation, would each be compiled."""
    with torch.compiler.set_stance("force_eager"):
        yield
