"""The pictures of an evaluation: what the model sees on some val and some unlabeled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semiseg.data import Sample
from semiseg.data.bands import read_picture
from semiseg.engine.evaluation import Evaluator
from semiseg.engine.pictures import PictureRow, sample_sheet
from semiseg.models import Segmenter

Item = TypeVar("Item")

_LONGEST = 1024
"""Pixels of the longer side of a sample that are kept, up to twice as many, for cells of a few hundred pixels."""


@torch.no_grad()
def draw_samples(
    model: Segmenter, evaluator: Evaluator, unlabeled: Sequence[Sample], threshold: float, *, each: int = 3
) -> Image.Image:
    """Draw some val and unlabeled samples: image (or before and after), truth, prediction, pseudo-label.

    Args:
        model: the labeling model, in eval mode.
        evaluator: the val samples and how to run the model.
        unlabeled: samples without a mask.
        threshold: confidence below which pixels are greyed.
        each: how many of both kinds.
    """
    spec = evaluator.spec
    samples = (*spread(evaluator.samples, each), *spread(unlabeled, each))
    rows = [_row(model, evaluator, sample, threshold) for sample in samples]
    mistakes = spec.score == "changed_iou"
    return sample_sheet(rows, spec.classes, spec.palette, ignore_value=spec.ignore_value, mistakes=mistakes)


@torch.no_grad()
def draw_chosen(model: Segmenter, evaluator: Evaluator, chosen: Sequence[tuple[Sample, str]]) -> Image.Image:
    """Draw val samples, each under words of its own: image (or before and after), truth, prediction.

    Args:
        model: the labeling model, in eval mode.
        evaluator: how to run the model.
        chosen: the samples, and what to say of each beside its id.
    """
    spec = evaluator.spec
    rows = [
        replace(_row(model, evaluator, sample, 0.0), title=f"{words}  ({sample.id})", confidence_HW=None)
        for sample, words in chosen
    ]
    mistakes = spec.score == "changed_iou"
    return sample_sheet(rows, spec.classes, spec.palette, ignore_value=spec.ignore_value, mistakes=mistakes)


def _row(model: Segmenter, evaluator: Evaluator, sample: Sample, threshold: float) -> PictureRow:
    """Predict a sample; of a large one every second, third ... pixel is kept, as a sheet shows no more."""
    frames_THWC = np.stack(
        [np.asarray(read_picture(path, evaluator.max_pixels, evaluator.spec.shown)) for path in sample.frames]
    )
    prediction_HW, confidence_HW = _predict(model, evaluator, frames_THWC)
    step = max(1, max(prediction_HW.shape) // _LONGEST)
    return PictureRow(
        title=sample.id,
        frames=tuple(frames_THWC[:, ::step, ::step].copy()),
        truth_HW=evaluator.read(sample)[1][::step, ::step].copy() if sample.mask else None,
        prediction_HW=prediction_HW[::step, ::step].copy(),
        confidence_HW=confidence_HW[::step, ::step].copy(),
        threshold=threshold,
    )


def spread(samples: Sequence[Item], count: int) -> list[Item]:
    """Take samples evenly over the list: neighbours in a list are often neighbours in a video."""
    count = min(count, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def _predict(
    model: Segmenter, evaluator: Evaluator, frames_THWC: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the class and the confidence of every pixel, (H, W)."""
    device = next(model.parameters()).device
    label_HW = np.empty(frames_THWC.shape[1:3], dtype=np.uint8)
    confidence_HW = np.empty(frames_THWC.shape[1:3], dtype=np.float32)
    for block in evaluator.blocks(model, torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)[None], device):
        place = block.rows, block.columns
        label_HW[place] = block.scores_BKHW[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
        confidence_HW[place] = block.probabilities()[0].amax(dim=0).cpu().numpy()
    return label_HW, confidence_HW
