"""What a model says of a picture, as the page draws it, and the newest of such answers."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.app.pictures import thinning
from semiseg.data.predicted import png_mark
from semiseg.engine.pictures import indexed_image
from semiseg.models import ModelCard
from semiseg.prediction import Predictor

KEPT = 8
"""Answers that stay; the oldest goes when another comes."""


@dataclass(frozen=True, eq=False)
class Result:
    """A mask and how sure each pixel of it is.

    Attributes:
        mask_HW: class ids, uint8; the ignore value where nothing is said.
        confidence_HW: the probability of that class, in 255 parts, uint8.
        seconds: the model took.
    """

    mask_HW: NDArray[np.uint8]
    confidence_HW: NDArray[np.uint8]
    seconds: float

    def facts(self, classes: int) -> dict[str, Any]:
        """Return shares of the classes and their mean confidence, and the size of what is drawn, as plain values."""
        counts_K = np.bincount(self.mask_HW.ravel(), minlength=256)[:classes]
        step = thinning(*self.mask_HW.shape)
        height, width = self.mask_HW[::step, ::step].shape
        return {
            "size": [self.mask_HW.shape[1], self.mask_HW.shape[0]],
            "drawn": [width, height],
            "shares": (counts_K / self.mask_HW.size).round(6).tolist(),
            "sure": round(float(self.confidence_HW.mean()) / 255, 4),
            "seconds": round(self.seconds, 3),
        }

    def maps(self) -> bytes:
        """Return class ids and confidence of the pixels that are drawn, a byte each, row by row."""
        step = thinning(*self.mask_HW.shape)
        return np.stack([self.mask_HW[::step, ::step], self.confidence_HW[::step, ::step]]).tobytes()

    def png(self, card: ModelCard) -> bytes:
        """Return the mask as `semiseg predict` writes it, with the mark of a prediction."""
        content = io.BytesIO()
        indexed_image(self.mask_HW, card.palette).save(content, "PNG", pnginfo=png_mark())
        return content.getvalue()


def predicted(predictor: Predictor, frames: Sequence[Path], max_pixels: int) -> Result:
    """Ask a model.

    Raises:
        DataError: pictures that cannot be read, or do not fit each other or the model.
    """
    opened = predictor.open(frames, max_pixels)
    began = time.perf_counter()
    found = predictor.predict_frames(opened, confidence=True)
    seconds = time.perf_counter() - began
    assert found.confidence_HW is not None
    return Result(found.mask_HW, (found.confidence_HW * 255).round().astype(np.uint8), seconds)


def suggested(mask: Path, card: ModelCard, max_pixels: int) -> Result:
    """Return a mask that somebody has suggested, as an answer that is sure of what it says."""
    from semiseg.data.reading import read_mask

    mask_HW = read_mask(mask, max_pixels, accept_predicted=True)
    said_HW = mask_HW < len(card.classes)
    return Result(np.where(said_HW, mask_HW, card.ignore_value).astype(np.uint8), said_HW.astype(np.uint8) * 255, 0.0)


class Results:
    """The newest answers by name."""

    def __init__(self) -> None:
        self._found: dict[str, Result] = {}
        self._made = 0

    def keep(self, result: Result) -> str:
        """Keep an answer and return its name."""
        self._made += 1
        name = f"r{self._made}"
        self._found[name] = result
        while len(self._found) > KEPT:
            self._found.pop(next(iter(self._found)))
        return name

    def __getitem__(self, name: str) -> Result:
        """Return an answer; KeyError where it is gone."""
        return self._found[name]


def as_jpeg(image: Image.Image) -> bytes:
    """Return a picture for the page."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=92)
    return content.getvalue()
