"""Does an exported file say what the model says: differences, accuracy and time, on real pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from semiseg.engine.precision import full_fp32
from semiseg.exporting.graph import INPUTS, OUTPUT, Size
from semiseg.exporting.onnx_file import Feed
from semiseg.models import ModelCard
from semiseg.prediction import Picture
from semiseg.prediction.frames import open_frames, shown_to

Runner = Callable[[Feed], NDArray[np.float32]]
"""Gives the logits (B, K, H, W) of the inputs."""

_LARGEST = 1024
"""Pixels of a side of what is compared in one pass: of larger pictures the middle."""
_REPEATS = 7


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How an exported file differs from the model in fp32, and how long both take."""

    pictures: int
    """How many were compared."""
    largest_difference: float
    """Of any logit."""
    classes_differ: float
    """Share of the pixels whose class differs, 0 to 1."""
    size: Size
    """Height and width of the picture that was timed, alone in its batch."""
    torch_ms: float
    """Milliseconds of torch for it, the median of a few passes, on the CPU in fp32."""
    exported_ms: float
    """Milliseconds of the exported file."""
    threads: int
    """Threads of both."""


class ExportedScorer(nn.Module):
    """An exported file in the place of a segmenter, for the one rule of evaluation.

    Args:
        run: the file.
        patch: of the model.
        num_classes: K.
    """

    def __init__(self, run: Runner, patch: int, num_classes: int) -> None:
        super().__init__()
        self.run, self.patch, self.num_classes = run, patch, num_classes

    def normalize(self, images_BTCHW: Tensor) -> Tensor:
        """Return floats from 0 to 1; the file normalises them itself."""
        return images_BTCHW.float() / 255 if images_BTCHW.dtype == torch.uint8 else images_BTCHW.float()

    def forward(self, images_BTCHW: Tensor) -> Tensor:
        """Return the logits (B, K, H, W)."""
        frames = images_BTCHW.unbind(1)
        feed = {name: frame.contiguous().numpy() for name, frame in zip(INPUTS[len(frames)], frames, strict=True)}
        return torch.from_numpy(self.run(feed))


def onnx_runner(path: Path) -> Runner:
    """Open an ONNX file in onnxruntime, on the CPU with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # no warnings of constants that it would rather have folded
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(feed: Feed) -> NDArray[np.float32]:
        logits_BKHW: NDArray[np.float32] = session.run([OUTPUT], dict(feed))[0]
        return logits_BKHW

    return run


def torch_runner(module: nn.Module) -> Runner:
    """Run a module whose inputs are the frames, such as `Graph` or a traced one."""

    @full_fp32()
    @torch.no_grad()
    def run(feed: Feed) -> NDArray[np.float32]:
        logits_BKHW: NDArray[np.float32] = module(*map(torch.from_numpy, feed.values())).numpy()
        return logits_BKHW

    return run


def feeds_of(samples: Sequence[Sequence[Picture]], card: ModelCard, size: Size | None) -> Iterator[Feed]:
    """Read samples as inputs of a graph, each alone in its batch; resized where the graph has one size.

    Raises:
        DataError: an unreadable picture, the wrong number of frames, or frames that differ in size.
    """
    for pictures in samples:
        seen = open_frames(pictures, card.frames, shown=shown_to(card)).seen
        rasters = [_fitting(raster[:, :], size) for raster in seen]
        yield {
            name: raster_HW3.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
            for name, raster_HW3 in zip(INPUTS[card.frames], rasters, strict=True)
        }


def _fitting(raster_HW3: NDArray[np.uint8], size: Size | None) -> NDArray[np.uint8]:
    """Return a picture in the size of the graph, or the middle of one that is large."""
    if size is not None:
        return np.asarray(Image.fromarray(raster_HW3).resize(size[::-1], Image.Resampling.BILINEAR))
    rows, columns = (max(0, (side - _LARGEST) // 2) for side in raster_HW3.shape[:2])
    return raster_HW3[rows : rows + _LARGEST, columns : columns + _LARGEST]


def compare(expected: Runner, exported: Runner, feeds: Sequence[Feed]) -> Comparison:
    """Hold an exported file against the model, on at least one input."""
    largest, differ, pixels = 0.0, 0, 0
    for feed in feeds:
        truth_BKHW, found_BKHW = expected(feed), exported(feed)
        largest = max(largest, float(np.abs(truth_BKHW - found_BKHW).max()))
        differ += int((truth_BKHW.argmax(1) != found_BKHW.argmax(1)).sum())
        pixels += truth_BKHW[:, 0].size
    height, width = next(iter(feeds[0].values())).shape[-2:]
    return Comparison(
        pictures=len(feeds),
        largest_difference=largest,
        classes_differ=differ / pixels,
        size=(height, width),
        torch_ms=_milliseconds(expected, feeds[0]),
        exported_ms=_milliseconds(exported, feeds[0]),
        threads=torch.get_num_threads(),
    )


def _milliseconds(run: Runner, feed: Feed) -> float:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        run(feed)
        times.append(time.perf_counter() - began)
    return 1000 * median(times)
