"""What a run's newest evaluation told beside its score, read for the report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST = 64_000_000
"""Bytes; a run of 5,000 val images and 150 classes writes one."""


@dataclass(frozen=True, kw_only=True)
class ClassTrust:
    """Kept val pixels of a class, those of them that are right, and its predicted quality, 0 to 1."""

    kept: int
    kept_right: int
    predicted: float


@dataclass(frozen=True, kw_only=True)
class ImageTrust:
    """Predicted quality, mean IoU and accuracy of a val image, 0 to 1; its pixels, 0 where they were not counted."""

    id: str
    predicted: float
    iou: float
    accuracy: float
    pixels: int = 0


@dataclass(frozen=True, kw_only=True)
class QualityRecord:
    """See `semiseg.engine.quality.Quality`; `bins` are pixels, right ones, and sum of their confidence."""

    step: int
    threshold: float
    ece: float
    kept: float
    kept_right: float
    disagreement: float | None
    rank_agreement: float | None
    bins: tuple[tuple[float, float, float], ...]
    classes: Mapping[str, ClassTrust]
    images: tuple[ImageTrust, ...]
    confusion_KK: NDArray[np.int64]


def read_quality(path: Path) -> QualityRecord | None:
    """Read the file; None where there is none, or one that no run has written."""
    try:
        if path.stat().st_size > _LARGEST:
            return None
        return _quality(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _quality(content: Mapping[str, Any]) -> QualityRecord:
    classes = {
        str(found["name"]): ClassTrust(
            kept=int(found["kept"]), kept_right=int(found["kept_right"]), predicted=_share(found["predicted"])
        )
        for found in content["classes"]
    }
    images = [
        ImageTrust(
            id=str(found["id"]),
            **{name: _share(found[name]) for name in ("predicted", "iou", "accuracy")},
            pixels=int(_count(found.get("pixels", 0))),
        )
        for found in content["images"]
    ]
    confusion_KK = np.array(content["confusion"], dtype=np.int64)
    if confusion_KK.shape != (len(classes), len(classes)) or (confusion_KK < 0).any():
        raise ValueError("no confusion of these classes")
    return QualityRecord(
        step=int(content["step"]),
        **{name: _share(content[name]) for name in ("threshold", "ece", "kept", "kept_right")},
        disagreement=_share_or_none(content["disagreement"]),
        rank_agreement=_share_or_none(content["rank_agreement"]),
        bins=tuple((_count(b["pixels"]), _count(b["right"]), _count(b["confidence"])) for b in content["bins"]),
        classes=classes,
        images=tuple(images),
        confusion_KK=confusion_KK,
    )


def _share(value: Any) -> float:
    share = float(value)
    if not -1.01 <= share <= 1.01:
        raise ValueError("no share")
    return share


def _share_or_none(value: Any) -> float | None:
    return None if value is None else _share(value)


def _count(value: Any) -> float:
    count = float(value)
    if not (math.isfinite(count) and 0 <= count < 2**62):
        raise ValueError("no count")
    return count
