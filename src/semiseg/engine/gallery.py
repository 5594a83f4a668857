"""The pictures of an evaluation: what the model sees on some val and some unlabeled images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from semiseg.data import Sample
from semiseg.data.reading import read_image
from semiseg.engine.evaluation import Evaluator
from semiseg.engine.pictures import PictureRow, sample_sheet
from semiseg.models import Segmenter


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
    spec, rows = evaluator.spec, []
    for sample in (*_spread(evaluator.samples, each), *_spread(unlabeled, each)):
        frames = np.stack([np.asarray(read_image(path, evaluator.max_pixels)) for path in sample.frames])
        truth = evaluator.read(sample)[1] if sample.mask else None
        prediction, confidence = _predict(model, evaluator, frames)
        rows.append(
            PictureRow(
                title=sample.id,
                frames=tuple(frames),
                truth_HW=truth,
                prediction_HW=prediction,
                confidence_HW=confidence,
                threshold=threshold,
            )
        )
    mistakes = spec.score == "changed_iou"
    return sample_sheet(rows, spec.classes, spec.palette, ignore_value=spec.ignore_value, mistakes=mistakes)


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Take samples evenly over the list: neighbours in a list are often neighbours in a video."""
    count = min(count, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def _predict(
    model: Segmenter, evaluator: Evaluator, frames_THWC: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    device = next(model.parameters()).device
    images_BTCHW = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)[None].to(device)
    scores_BKHW = evaluator.predict(model, images_BTCHW)
    # Logits become probabilities; the sums of sliding windows are probabilities but for their scale.
    whole = evaluator.protocol == "original" or min(frames_THWC.shape[1:3]) < evaluator.window
    shares = scores_BKHW.softmax(1) if whole else scores_BKHW / scores_BKHW.sum(1, keepdim=True)
    confidence, label = shares[0].max(dim=0)
    return label.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy()
