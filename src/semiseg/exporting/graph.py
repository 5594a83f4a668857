"""A segmenter as a graph that stands alone: pictures from 0 to 1 in, logits of their size out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from semiseg.errors import ModelError
from semiseg.exporting.whole_operations import with_whole_operations
from semiseg.models import Segmenter
from semiseg.models.folding import folded_for_good
from semiseg.models.layers import resize_bilinear

INPUTS = {1: ("images",), 2: ("before", "after")}
"""The names of a graph's inputs, by the number of frames."""
OUTPUT = "logits"
Size = tuple[int, int]
"""Height and width, pixels."""

_EXAMPLE_PATCHES = (5, 7)
"""Sides of the example that a graph of any size is traced on, in patches; no two sides in it may be equal by chance."""
_LARGEST_PATCH = 32


class Graph(nn.Module):
    """A segmenter with what surrounds it: normalisation, and the resizing of the protocol `original`.

    Args:
        segmenter: in evaluation mode.
        fixed: whether the sides of all pictures are multiples of the patch: then nothing is resized.
    """

    def __init__(self, segmenter: Segmenter, *, fixed: bool) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.resizes = segmenter.patch > 1 and not fixed

    def forward(self, *frames_BCHW: Tensor) -> Tensor:
        """Segment pictures of any size.

        Args:
            *frames_BCHW: one, or before and after: (B, 3, H, W) float32 from 0 to 1.

        Returns:
            Logits (B, K, H, W), float32.
        """
        size = frames_BCHW[0].shape[-2:]
        patch = self.segmenter.patch
        images_BTCHW = self.segmenter.normalize(torch.stack(frames_BCHW, dim=1))
        if self.resizes:
            rows, columns = ((side + patch // 2) // patch * patch for side in size)
            resized_NCHW = resize_bilinear(images_BTCHW.flatten(0, 1), (rows, columns))
            images_BTCHW = resized_NCHW.unflatten(0, (-1, self.segmenter.frames))
        logits_BKHW: Tensor = self.segmenter(images_BTCHW)
        return resize_bilinear(logits_BKHW, (size[0], size[1])) if self.resizes else logits_BKHW


@torch.no_grad()
def trace(segmenter: Segmenter, size: Size | None, *, for_onnx: bool = True) -> ExportedProgram:
    """Trace a segmenter on the CPU.

    Args:
        segmenter: in evaluation mode, on the CPU.
        size: of all pictures that the graph will see; None: it takes any.
        for_onnx: whether the graph may hold operations that `to_onnx` alone can write.

    Returns:
        The graph; its batch is free, and its sides too unless `size` says them.

    Raises:
        ModelError: torch.export cannot trace the network, or not for any size.
    """
    fixed = size is not None and all(side % segmenter.patch == 0 for side in size)
    names = INPUTS[segmenter.frames]
    frames = tuple(torch.rand(2, 3, *_example(segmenter, size)) for _ in names)
    free = {0: Dim.DYNAMIC} if size else {0: Dim.DYNAMIC, 2: Dim.AUTO, 3: Dim.AUTO}
    graph = folded_for_good(Graph(segmenter, fixed=fixed).eval())
    try:
        return torch.export.export(
            with_whole_operations(graph) if for_onnx else graph,
            frames,
            dynamic_shapes={"frames_BCHW": (free,) * len(names)},
        )
    except Exception as error:  # torch.export raises whatever the traced code and its own passes do
        raise refusal(segmenter, size, error) from error


@torch.no_grad()
def require_free(program: ExportedProgram, segmenter: Segmenter) -> None:
    """Try a graph on pictures of another size than it was traced on.

    Raises:
        ModelError: it takes that one size alone.
    """
    rows, columns = (side + 2 * max(segmenter.patch, 16) for side in _example(segmenter, None))
    try:
        program.module()(*(torch.rand(1, 3, rows, columns) for _ in INPUTS[segmenter.frames]))
    except Exception as error:  # what fails is a check that the tracer wrote
        raise refusal(segmenter, None, error) from error


def refusal(segmenter: Segmenter, size: Size | None, error: Exception) -> ModelError:
    """Return the error that a network cannot be exported, with what can be tried."""
    side = 16 * segmenter.patch if segmenter.patch > 1 else 512
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    return ModelError(
        f"{segmenter.config.encoder} with {segmenter.config.decoder} cannot be exported"
        + (f" for pictures of {size[0]} x {size[1]}" if size else " for pictures of any size"),
        where=reason,
        remedy="choose another encoder" if size else f"fix the size of the pictures: --size {side} {side}",
    )


def _example(segmenter: Segmenter, size: Size | None) -> Sequence[int]:
    """Return a size to trace on: as asked, or one that is no multiple of the patch and differs in both sides."""
    if size is not None:
        return size
    step = segmenter.patch if segmenter.patch > 1 else _LARGEST_PATCH
    return [count * step + 3 for count in _EXAMPLE_PATCHES]
