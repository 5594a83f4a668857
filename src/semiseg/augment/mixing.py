"""CutMix: inside a sample's box, show another sample of the batch (arXiv 1905.04899; boxes as UniMatch draws them)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from semiseg.augment.config import StrongViewConfig


def draw_cutmix_box(rng: np.random.Generator, size: int, config: StrongViewConfig) -> Tensor:
    """Draw the box of one view.

    The area is drawn once; aspect and corner are redrawn together until the box fits, so wide corners and extreme
    shapes are rarer than their ranges suggest.

    Args:
        rng: the sample's generator.
        size: side of the square crop in pixels.
        config: probability and ranges.

    Returns:
        (4,) int64: x0, y0, x1, y1 in pixels, half-open; zeros for no box.
    """
    if rng.random() >= config.cutmix_p:
        return torch.zeros(4, dtype=torch.int64)
    area = rng.uniform(*config.cutmix_area) * size * size
    while True:
        aspect = rng.uniform(*config.cutmix_aspect)
        width, height = int(math.sqrt(area / aspect)), int(math.sqrt(area * aspect))
        x, y = (int(corner) for corner in rng.integers(0, size, 2))
        if x + width <= size and y + height <= size:
            return torch.tensor((x, y, x + width, y + height))


def cutmix(x: Tensor, box_B4: Tensor, content: Tensor | None = None) -> Tensor:
    """Paste: inside its box, sample i shows what `content` has there; without content, sample B - 1 - i.

    Args:
        x: (B, ..., H, W) of any dtype: images, labels, confidences, ignore maps, with or without frames and channels.
        box_B4: (B, 4) int64 boxes as of `draw_cutmix_box`, on the same device.
        content: what is pasted, like `x` (UniMatch V1 pastes from a second batch), or None (FixMatch, UniMatch V2).

    Returns:
        A new tensor of the shape and dtype of `x`. Never waits for the device.
    """
    height, width = x.shape[-2:]
    x0, y0, x1, y1 = (side[:, None] for side in box_B4.unbind(1))
    row = torch.arange(height, device=x.device)
    column = torch.arange(width, device=x.device)
    in_rows_BH = (row >= y0) & (row < y1)
    in_columns_BW = (column >= x0) & (column < x1)
    inside_BHW = in_rows_BH[:, :, None] & in_columns_BW[:, None, :]
    between = (1,) * (x.dim() - 3)
    pasted = x.flip(0) if content is None else content
    return torch.where(inside_BHW.reshape(len(x), *between, height, width), pasted, x)
