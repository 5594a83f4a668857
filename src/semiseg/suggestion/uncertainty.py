"""What a model is unsure of in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from semiseg.data.reading import MAX_PIXELS
from semiseg.errors import RunError
from semiseg.prediction import Predictor
from semiseg.prediction.frames import Frames, Picture
from semiseg.prediction.student import load_student

Mask = NDArray[np.uint8]
"""Class ids (H, W)."""

TOP = 0.05
"""The part of a class's pixels, the least sure ones, that tells how unsure of it the model is."""
IGNORED_ID = 255
"""What a mask has where the model is not sure."""
PRESENT = 0.001
"""The part of an image from which a class counts as present: a few stray pixels are always unsure."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """How unsure a model is of an image.

    Attributes:
        classes: for each class that it sees, the mean of one minus the margin (of the two largest probabilities) over
            the least sure 5 % of its pixels, 0 to 1.
        disagreement: the part of the pixels where student and teacher say otherwise; None without two of them.
    """

    classes: dict[str, float]
    disagreement: float | None

    @property
    def score(self) -> float:
        """The mean over classes, plus the disagreement: 0 to 2."""
        return float(np.mean(list(self.classes.values()))) + (self.disagreement or 0.0)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a model sees in every pixel of an image.

    Attributes:
        classes_HW: class ids.
        confidence_HW: the probability of that class.
        margin_HW: how much larger it is than the next.
    """

    classes_HW: NDArray[np.uint8]
    confidence_HW: NDArray[np.float32]
    margin_HW: NDArray[np.float32]

    def sure_of(self, threshold: float) -> Mask:
        """Return the class ids of what the model is sure of, and 255 where its confidence is below the threshold."""
        return np.where(self.confidence_HW >= threshold, self.classes_HW, np.uint8(IGNORED_ID))


class Models:
    """The model of a run, and where it is the teacher its student too.

    Attributes:
        predictor: the model.
        student: as the newest checkpoint has it; None where the run has no teacher, or no checkpoint any more.
    """

    def __init__(self, predictor: Predictor, student: Predictor | None) -> None:
        self.predictor = predictor
        self.student = student

    @torch.inference_mode()
    def look(self, pictures: Sequence[Picture], max_pixels: int = MAX_PIXELS) -> tuple[Seen, Doubt]:
        """Return what the model sees in a sample, and how unsure it is of it.

        Args:
            pictures: the sample's, as files or read.
            max_pixels: the largest file that is opened.

        Raises:
            DataError: an image that cannot be used.
        """
        frames = self.predictor.open(pictures, max_pixels).as_seen
        seen = see(self.predictor, frames)
        disagreement = None
        if self.student is not None:
            disagreement = float((seen.classes_HW != see(self.student, frames).classes_HW).mean())
        classes = doubt_by_class(seen, self.predictor.card.classes)
        return seen, Doubt(classes=classes, disagreement=disagreement)

    @torch.inference_mode()
    def confident_mask(self, pictures: Sequence[Picture], threshold: float, max_pixels: int = MAX_PIXELS) -> Mask:
        """Return what the model is sure of in a sample, of its size, as `Seen.sure_of`; raises as `look`."""
        return see(self.predictor, self.predictor.open(pictures, max_pixels)).sure_of(threshold)


def load_models(run: Path, device: str = "auto") -> Models:
    """Load the models of a run.

    Raises:
        ModelError: the run has no model yet.
        ConfigError: no such device here.
    """
    predictor = Predictor.load(run, device)
    return Models(predictor, _student(run, device))


def _student(run: Path, device: str) -> Predictor | None:
    try:
        return load_student(run, device)
    except RunError:  # all checkpoints are damaged: the model is there all the same
        return None


def see(predictor: Predictor, frames: Frames) -> Seen:
    """Return what a model sees in the frames of one sample, piece by piece as in evaluation."""
    seen = Seen(
        classes_HW=np.empty(frames.size, dtype=np.uint8),
        confidence_HW=np.empty(frames.size, dtype=np.float32),
        margin_HW=np.empty(frames.size, dtype=np.float32),
    )
    for block in predictor.blocks(frames, predictor.inference()):
        place = block.rows, block.columns
        best = block.probabilities()[0].topk(2, dim=0)
        seen.classes_HW[place] = best.indices[0].to(torch.uint8).cpu().numpy()
        seen.confidence_HW[place] = best.values[0].cpu().numpy()
        seen.margin_HW[place] = (best.values[0] - best.values[1]).cpu().numpy()
    return seen


def doubt_by_class(seen: Seen, classes: Sequence[str]) -> dict[str, float]:
    """Return the doubt of each class that covers a thousandth of the image or more."""
    pixels = np.bincount(seen.classes_HW.ravel(), minlength=len(classes))
    found = {}
    for number in np.flatnonzero(pixels >= max(1, PRESENT * seen.classes_HW.size)).tolist():
        doubts = 1 - seen.margin_HW[seen.classes_HW == number]
        count = max(1, round(TOP * len(doubts)))
        found[classes[number]] = float(np.partition(doubts, len(doubts) - count)[-count:].mean())
    return found
