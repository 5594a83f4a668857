"""The draws of a strong view: the photometric parameters of each frame and one CutMix box for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semiseg.augment.config import StrongViewConfig
from semiseg.augment.draws import PhotometricDraws, draw_photometric
from semiseg.augment.mixing import draw_cutmix_box


@dataclass(frozen=True)
class ViewDraws:
    """The parameters of one strong view, of a sample (without B) or of a batch."""

    photometric: PhotometricDraws
    """(B, T): each frame changes its colours on its own."""

    box_B4: Tensor
    """(B, 4) int64: x0, y0, x1, y1, half-open; zeros for no box. The frames of a sample share it."""

    def map(self, function: Callable[[Tensor], Tensor]) -> ViewDraws:
        """Return the draws with `function` applied to each of their tensors."""
        return ViewDraws(self.photometric.map(function), function(self.box_B4))

    def to(self, device: torch.device | str) -> ViewDraws:
        """Return the draws on `device`; from pinned memory the host does not wait for the copy."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ViewDraws:
        """Return the draws in pinned memory; the data loader calls this."""
        return self.map(Tensor.pin_memory)


def draw_view(rng: np.random.Generator, frames: int, size: int, config: StrongViewConfig) -> ViewDraws:
    """Draw one strong view of a sample.

    Args:
        rng: the generator of this sample and view.
        frames: T, 1 for segmentation, 2 for change detection.
        size: side of the square crop in pixels.
        config: probabilities and ranges.

    Returns:
        Draws of shape (T,) and a box of shape (4,).
    """
    photometric = PhotometricDraws.stack([draw_photometric(rng, config) for _ in range(frames)])
    return ViewDraws(photometric, draw_cutmix_box(rng, size, config))


def stack_views(draws: Sequence[ViewDraws]) -> ViewDraws:
    """Collate the draws of B samples, (T,) each, into those of a batch: (B, T) and (B, 4)."""
    photometric = PhotometricDraws.stack([draw.photometric for draw in draws])
    return ViewDraws(photometric, torch.stack([draw.box_B4 for draw in draws]))
