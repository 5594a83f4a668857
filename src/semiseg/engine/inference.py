"""From a whole image to the scores of its pixels, by the two published protocols."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from semiseg.models import Segmenter
from semiseg.models.layers import resize_bilinear

_WINDOWS_AT_ONCE = 8


def predict_scores(
    model: Segmenter, images_BTCHW: Tensor, *, protocol: Literal["original", "sliding"], window: int
) -> Tensor:
    """Score every pixel of images of any size.

    Args:
        model: a segmenter in eval mode.
        images_BTCHW: normalised images of one size.
        protocol: `original` resizes to the nearest multiple of the patch and the logits back (Pascal, ADE20K, COCO);
            `sliding` sums the softmax of overlapping windows (Cityscapes). An image smaller than a window is treated
            as `original`.
        window: side of a window, pixels, a multiple of the patch.

    Returns:
        scores_BKHW: logits, or for `sliding` summed probabilities; fp32; the largest is the prediction.
    """
    if _slides(images_BTCHW, protocol, window):
        return _sliding(model, images_BTCHW, window)
    return _original(model, images_BTCHW)


def predict_probabilities(
    model: Segmenter, images_BTCHW: Tensor, *, protocol: Literal["original", "sliding"], window: int
) -> Tensor:
    """Return what `predict_scores` does as probabilities of the classes, comparable from one image to another.

    They are the softmax of the logits, or the mean over the windows; (B, K, H, W), fp32, each pixel's sum is one.
    """
    scores_BKHW = predict_scores(model, images_BTCHW, protocol=protocol, window=window)
    if _slides(images_BTCHW, protocol, window):
        return scores_BKHW / scores_BKHW.sum(dim=1, keepdim=True)
    return scores_BKHW.softmax(dim=1)


def _slides(images_BTCHW: Tensor, protocol: str, window: int) -> bool:
    return protocol == "sliding" and min(images_BTCHW.shape[-2:]) >= window


def _original(model: Segmenter, images_BTCHW: Tensor) -> Tensor:
    height, width = images_BTCHW.shape[-2:]
    rows, columns = (max(1, int(side / model.patch + 0.5)) * model.patch for side in (height, width))
    resized_NCHW = resize_bilinear(images_BTCHW.flatten(0, 1), (rows, columns))
    logits_BKHW: Tensor = model(resized_NCHW.unflatten(0, images_BTCHW.shape[:2])).float()
    return resize_bilinear(logits_BKHW, (height, width))


def window_starts(side: int, window: int) -> list[int]:
    """Return where windows start along a side: every int(2/3 window), the last one flush with the border."""
    return [*range(0, side - window, int(window * 2 / 3)), side - window]


def _sliding(model: Segmenter, images_BTCHW: Tensor, window: int) -> Tensor:
    batch, (height, width) = len(images_BTCHW), images_BTCHW.shape[-2:]
    corners = [(y, x) for y in window_starts(height, window) for x in window_starts(width, window)]
    scores_BKHW = images_BTCHW.new_zeros(batch, model.num_classes, height, width, dtype=torch.float32)
    for first in range(0, len(corners), _WINDOWS_AT_ONCE):
        part = corners[first : first + _WINDOWS_AT_ONCE]
        windows = torch.cat([images_BTCHW[..., y : y + window, x : x + window] for y, x in part])
        probabilities = model(windows).float().softmax(dim=1)
        for (y, x), found in zip(part, probabilities.split(batch), strict=True):
            scores_BKHW[..., y : y + window, x : x + window] += found
    return scores_BKHW
