"""The pictures of an evaluation: what the model sees on some val and some unlabeled images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semiseg.data import Sample
from semiseg.data.bands import read_picture
from semiseg.engine.evaluation import Evaluator
from semiseg.engine.keepsakes import Keepsakes, Seen, step_of
from semiseg.engine.pictures import PictureRow, sample_sheet
from semiseg.models import Segmenter

Item = TypeVar("Item")

_EACH = 3
"""How many val and how many unlabeled samples a sheet shows."""


def places_on_the_sheet(evaluator: Evaluator) -> list[int]:
    """Return the places of the val samples that `draw_samples` draws."""
    return spread(range(len(evaluator.samples)), _EACH)


@torch.no_grad()
def draw_samples(
    model: Segmenter,
    evaluator: Evaluator,
    unlabeled: Sequence[Sample],
    threshold: float,
    seen: Mapping[int, Seen] | None = None,
) -> Image.Image:
    """Draw some val and unlabeled samples: image (or before and after), truth, prediction, pseudo-label.

    Args:
        model: the labeling model, in eval mode.
        evaluator: the val samples and how to run the model.
        unlabeled: samples without a mask.
        threshold: confidence below which pixels are greyed.
        seen: what the model said of val samples, by place; what is not there is predicted.
    """
    spec = evaluator.spec
    chosen = [(evaluator.samples[place], (seen or {}).get(place)) for place in places_on_the_sheet(evaluator)]
    chosen += [(sample, None) for sample in spread(unlabeled, _EACH)]
    rows = [_row(evaluator, sample, said or _predict(model, evaluator, sample), threshold) for sample, said in chosen]
    mistakes = spec.score == "changed_iou"
    return sample_sheet(rows, spec.classes, spec.palette, ignore_value=spec.ignore_value, mistakes=mistakes)


def draw_chosen(evaluator: Evaluator, chosen: Sequence[tuple[Sample, Seen, str]]) -> Image.Image:
    """Draw val samples, each under words of its own: image (or before and after), truth, prediction.

    Args:
        evaluator: how to read the samples.
        chosen: the samples, what the model said of each, and what to say of it beside its id.
    """
    spec = evaluator.spec
    rows = [
        replace(_row(evaluator, sample, seen, 0.0), title=f"{words}  ({sample.id})", confidence_HW=None)
        for sample, seen, words in chosen
    ]
    mistakes = spec.score == "changed_iou"
    return sample_sheet(rows, spec.classes, spec.palette, ignore_value=spec.ignore_value, mistakes=mistakes)


def _row(evaluator: Evaluator, sample: Sample, seen: Seen, threshold: float) -> PictureRow:
    """Read a sample and put it beside what was said of it; of a large one every second, third ... pixel is shown."""
    frames_THWC = _frames(evaluator, sample)
    step = step_of(*frames_THWC.shape[1:3])
    return PictureRow(
        title=sample.id,
        frames=tuple(frames_THWC[:, ::step, ::step].copy()),
        truth_HW=evaluator.read_mask(sample)[::step, ::step].copy() if sample.mask else None,
        prediction_HW=seen.label_HW,
        confidence_HW=seen.confidence_HW,
        threshold=threshold,
    )


def _frames(evaluator: Evaluator, sample: Sample) -> NDArray[np.uint8]:
    pictures = (read_picture(path, evaluator.max_pixels, evaluator.spec.shown) for path in sample.frames)
    return np.stack([np.asarray(picture) for picture in pictures])


def spread(samples: Sequence[Item], count: int) -> list[Item]:
    """Take samples evenly over the list: neighbours in a list are often neighbours in a video."""
    count = min(count, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def _predict(model: Segmenter, evaluator: Evaluator, sample: Sample) -> Seen:
    """Return the class and the confidence of the pixels of a sample that are shown."""
    images_1TCHW = torch.from_numpy(_frames(evaluator, sample)).permute(0, 3, 1, 2)[None]
    size = images_1TCHW.shape[-2], images_1TCHW.shape[-1]
    keepsakes = Keepsakes([size], chosen=[0], extremes=0)
    keepsakes.begin([0])
    for block in evaluator.blocks(model, images_1TCHW, next(model.parameters()).device):
        confidence_1HW = block.probabilities().amax(dim=1)
        keepsakes.see(block.rows, block.columns, block.scores_BKHW.argmax(dim=1), confidence_1HW)
    keepsakes.end(torch.tensor([math.nan]))
    return keepsakes.kept(0)
