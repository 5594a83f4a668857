"""Inputs of training steps that are drawn by a rule instead of read: bytes, masks, strong views, boxes, a stream."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from semiseg.augment import ViewDraws, cutmix
from semiseg.augment.photometric import PhotometricDraws
from semiseg.data import Batch, DatasetSpec, Division, Labeled, PixelCounts, Place, Unlabeled
from semiseg.methods import METHODS

CROP, BATCH, SCHEDULED = 98, 4, 8  # of pairs half as many are a batch

# x0, y0, x1, y1 of each sample, by view.
BOXES = (
    torch.tensor([[3, 2, 47, 85], [0, 0, 0, 0], [40, 25, 98, 94], [11, 1, 19, 70]]),
    torch.tensor([[0, 0, 0, 0], [34, 40, 90, 72], [0, 0, 42, 98], [0, 0, 0, 0]]),
)
# Brightness, contrast, saturation and hue of each sample, by view; the last sample of the second view has no jitter.
FACTORS = (
    torch.tensor([[1.3, 0.7, 1.2, 0.1], [0.6, 1.4, 0.9, -0.2], [1.0, 1.1, 0.5, 0.25], [0.8, 0.8, 1.5, -0.05]]),
    torch.tensor([[0.9, 1.5, 0.6, -0.1], [1.2, 0.6, 1.3, 0.2], [0.7, 1.2, 1.0, -0.25], [1.0, 1.0, 1.0, 0.0]]),
)
ORDERS = (
    torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]]),
    torch.tensor([[1, 0, 3, 2], [0, 3, 2, 1], [3, 0, 1, 2], [0, 1, 2, 3]]),
)
GRAYSCALE = (torch.tensor([False, True, False, False]), torch.tensor([False, False, False, True]))
SIGMAS = (torch.tensor([0.0, 1.1, 0.4, 2.0]), torch.tensor([0.7, 0.0, 0.0, 1.6]))


def drawn_bytes(name: str, *shape: int) -> Tensor:
    raw = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    return torch.from_numpy((raw >> np.uint64(56)).astype(np.uint8).reshape(shape))


def drawn_mask(name: str, batch: int, classes: int) -> Tensor:
    """Squares of a class or, as often as each class, of the ignore value."""
    ids = drawn_bytes(name, batch, CROP // 14, CROP // 14) % (classes + 1)
    return ids.masked_fill(ids == classes, 255).repeat_interleave(14, 1).repeat_interleave(14, 2)


def drawn_view(view: int, size: int, frames: int) -> ViewDraws:
    """Each frame has the photometric draws of another sample; the box is that of all frames."""
    photometric = PhotometricDraws(ORDERS[view], FACTORS[view], GRAYSCALE[view], SIGMAS[view])
    shifted = photometric.map(lambda draw: torch.stack([draw.roll(frame, 0)[:size] for frame in range(frames)], dim=1))
    return ViewDraws(shifted, BOXES[view][:size])


def padding(size: int) -> Tensor:
    ignore = torch.zeros(BATCH, CROP, CROP, dtype=torch.bool)
    ignore[1, 80:] = True
    ignore[3, :, :30] = True
    return ignore[:size]


PLACE = Place(
    seed=0, step=0, steps=SCHEDULED, steps_per_epoch=SCHEDULED, batch=0, chunks=1, positions_B=torch.arange(0)
)


class Drawn:
    """A stream that draws its batches by a rule instead of reading images."""

    steps = steps_per_epoch = SCHEDULED

    def __init__(self, method: str, spec: DatasetSpec, batch: int = BATCH) -> None:
        self.views, self.frames, self.classes = METHODS[method].views, len(spec.frames), spec.num_classes
        self.batch, self.second = batch // self.frames, METHODS[method].second_unlabeled
        self.division = Division(
            labeled=self.batch * METHODS[method].labeled_factor,
            unlabeled=self.batch if METHODS[method].learns_unlabeled else 0,
        )

    def __len__(self) -> int:
        return SCHEDULED

    def __getitem__(self, step: int) -> Batch:
        size, image = self.division.labeled, (self.frames, CROP, CROP, 3)
        labeled = Labeled(drawn_bytes(f"labeled {step}", size, *image), drawn_mask(f"mask {step}", size, self.classes))
        unlabeled, second, valid = None, None, ~padding(self.batch)
        if self.views:
            views = tuple(drawn_view(view, self.batch, self.frames) for view in range(self.views))
            unlabeled = Unlabeled(drawn_bytes(f"unlabeled {step}", self.batch, *image), ~valid, views)
            others = (drawn_bytes(f"second {step}", self.batch, *image), padding(self.batch).flip(0), views[::-1])
            second = Unlabeled(*others) if self.second else None
        content = ~second.ignore_BHW if second else None
        boxes = [box[: self.batch] for box in BOXES]
        counts = [(labeled.mask_BHW != 255).sum(), valid.sum(), *(cutmix(valid, box, content).sum() for box in boxes)]
        return Batch(
            place=replace(PLACE, step=step, batch=self.batch, positions_B=torch.arange(self.batch)),
            labeled=labeled,
            unlabeled=unlabeled,
            second=second,
            pixels=PixelCounts.unstacked(torch.stack(counts).double()),
            ids=(),
        )
