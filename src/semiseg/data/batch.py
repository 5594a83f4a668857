"""What the loader hands to a training step: uint8 pixels, masks and the drawn parameters of the strong views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from semiseg.augment import ViewDraws


@dataclass(frozen=True)
class Labeled:
    """Labeled crops: `images_BTHWC` uint8, `mask_BHW` uint8 (class ids, the ignore value), draws of strong views."""

    images_BTHWC: Tensor
    mask_BHW: Tensor
    views: tuple[ViewDraws, ...] = ()

    @property
    def images_BTCHW(self) -> Tensor:
        """The images with channels first, a view (its memory stays channels last, which convolutions like)."""
        return self.images_BTHWC.permute(0, 1, 4, 2, 3)


@dataclass(frozen=True)
class Taught:
    """What a trained teacher says of unlabeled crops: `label_BHW` uint8, `confidence_BHW` uint8 (255 is sure)."""

    label_BHW: Tensor
    confidence_BHW: Tensor


@dataclass(frozen=True)
class Unlabeled:
    """Unlabeled crops: `images_BTHWC` uint8, `ignore_BHW` bool (padding), and the draws of each strong view.

    `taught` is there where a trained teacher labels them.
    """

    images_BTHWC: Tensor
    ignore_BHW: Tensor
    views: tuple[ViewDraws, ...]
    taught: Taught | None = None

    @property
    def images_BTCHW(self) -> Tensor:
        """The images with channels first, a view."""
        return self.images_BTHWC.permute(0, 1, 4, 2, 3)


@dataclass(frozen=True)
class PixelCounts:
    """How many pixels a loss is divided by: float64 scalars, of one chunk or, once reduced, of the global batch.

    Attributes:
        labeled: labeled pixels that are not ignored.
        weak: unlabeled pixels that are not padding.
        views: the same in each strong view, after CutMix from the batch or from the second one; shape (V,).
    """

    labeled: Tensor
    weak: Tensor
    views: Tensor

    def stacked(self) -> Tensor:
        """Return all counts in one vector (2 + V,), as one message to reduce."""
        return torch.cat((torch.stack((self.labeled, self.weak)), self.views))

    @classmethod
    def unstacked(cls, counts: Tensor) -> PixelCounts:
        """Undo `stacked`."""
        return cls(counts[0], counts[1], counts[2:])


@dataclass(frozen=True)
class Place:
    """Where a chunk of a step stands, so that draws do not depend on how the global batch is divided.

    Attributes:
        seed: the run's seed.
        step: the optimizer step, from 0.
        steps: length of the run in steps.
        steps_per_epoch: length of an epoch in steps.
        batch: size of the global unlabeled batch.
        chunks: how many chunks (processes x accumulation) the global batch is divided into.
        positions_B: the places of this chunk's unlabeled samples in the global batch, int64.
    """

    seed: int
    step: int
    steps: int
    steps_per_epoch: int
    batch: int
    chunks: int
    positions_B: Tensor

    def is_before(self, part: float) -> bool:
        """Whether the step is one of the first `part` of all steps, 0 to 1."""
        return self.step < part * self.steps


@dataclass(frozen=True)
class Batch:
    """One chunk of the global batch of one step.

    Attributes:
        place: which chunk of which step.
        labeled: labeled crops.
        unlabeled: unlabeled crops, or None for methods and steps that use none.
        second: as many further unlabeled crops, drawn independently, for methods that paste from them.
        pixels: the divisors of the losses; the loop replaces this chunk's counts by the global batch's.
        ids: the samples' ids, labeled then unlabeled, for messages.
        damaged: unlabeled samples that could not be read, each with the reason, in whose place others were drawn.
    """

    place: Place
    labeled: Labeled
    unlabeled: Unlabeled | None
    pixels: PixelCounts
    ids: tuple[str, ...]
    second: Unlabeled | None = None
    damaged: tuple[tuple[str, str], ...] = ()

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with `function` applied to each of its tensors, those of its place aside."""

        def views(draws: Iterable[ViewDraws]) -> tuple[ViewDraws, ...]:
            return tuple(view.map(function) for view in draws)

        def taught(labels: Taught | None) -> Taught | None:
            return labels and Taught(function(labels.label_BHW), function(labels.confidence_BHW))

        def moved(u: Unlabeled | None) -> Unlabeled | None:
            return u and Unlabeled(function(u.images_BTHWC), function(u.ignore_BHW), views(u.views), taught(u.taught))

        labeled, pixels = self.labeled, self.pixels
        return replace(
            self,
            labeled=Labeled(function(labeled.images_BTHWC), function(labeled.mask_BHW), views(labeled.views)),
            unlabeled=moved(self.unlabeled),
            second=moved(self.second),
            pixels=PixelCounts(function(pixels.labeled), function(pixels.weak), function(pixels.views)),
        )

    def to(self, device: torch.device) -> Batch:
        """Copy to the device without waiting for it."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Move to page-locked memory; the loader calls this."""
        return self.map(Tensor.pin_memory)
