"""Where a model is good: its classes by how frequent they are, its val images by their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semiseg.errors import some
from semiseg.reporting.quality_record import ImageTrust, QualityRecord
from semiseg.reporting.wording import counted, plain

_FREQUENT, _RARE = 0.1, 0.01
"""Shares of the val pixels from which on a class is called frequent, and below which it is called rare."""
_THIRDS = ("smallest", "middle", "largest")
_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A part of what was evaluated: what it is, what is in it, and its mean IoU, 0 to 1."""

    name: str
    content: str
    iou: float


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Parts that are held beside each other, and what they are parts of."""

    title: str
    rows: tuple[Slice, ...]


def slices(quality: QualityRecord | None) -> list[Slices]:
    """Return the slices of the newest evaluation that have more than one part."""
    if quality is None:
        return []
    found = (
        Slices(title="Classes by their share of the val pixels", rows=tuple(_by_frequency(quality))),
        Slices(title="Val images by their size", rows=tuple(_by_size(quality.images))),
    )
    return [part for part in found if len(part.rows) > 1]


def _by_frequency(quality: QualityRecord) -> list[Slice]:
    """Part the classes that val masks show; the mean of their IoU."""
    confusion_KK = quality.confusion_KK.astype(np.float64)
    hit_K, true_K = np.diag(confusion_KK), confusion_KK.sum(axis=1)
    iou_K = hit_K / np.maximum(true_K + confusion_KK.sum(axis=0) - hit_K, 1)
    share_K = true_K / max(true_K.sum(), 1)
    groups = (
        (f"frequent, {_FREQUENT:.0%} or more", share_K >= _FREQUENT),
        (f"between, {_RARE:.0%} to {_FREQUENT:.0%}", (share_K >= _RARE) & (share_K < _FREQUENT)),
        (f"rare, below {_RARE:.0%}", (share_K > 0) & (share_K < _RARE)),
    )
    names = list(quality.classes)
    return [
        Slice(name=name, content=some([names[k] for k in np.flatnonzero(in_K)], _NAMED), iou=float(iou_K[in_K].mean()))
        for name, in_K in groups
        if in_K.any()
    ]


def _by_size(images: Sequence[ImageTrust]) -> list[Slice]:
    """Part the images into thirds, images of one size together; the mean of their own mean IoU."""
    pixels_N = np.array([image.pixels for image in images], dtype=np.float64)
    if len(set(pixels_N)) < 2 or not pixels_N.all():
        return []
    bounds = np.unique(np.quantile(pixels_N, (1 / 3, 2 / 3)))
    third_N = np.searchsorted(bounds, pixels_N, side="left")
    found = []
    for number, third in enumerate(np.unique(third_N)):
        chosen = [image for image, own in zip(images, third_N, strict=True) if own == third]
        sizes = [image.pixels / 1e6 for image in chosen]
        low, high = plain(min(sizes)), plain(max(sizes))
        name = _THIRDS[number if number < len(np.unique(third_N)) - 1 else 2]
        found.append(
            Slice(
                name=f"{name}, {low if low == high else f'{low} to {high}'} megapixels",
                content=counted(len(chosen), "image"),
                iou=float(np.mean([image.iou for image in chosen])),
            )
        )
    return found
