"""Evaluation of the published way: image by image, model by model, counted by histograms of NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.speed.plain.loader import Norm
from benchmarks.speed.plain.segmenter import PlainSegmenter
from benchmarks.speed.plain.step import IGNORED
from PIL import Image
from torch import nn

from semiseg.data import Sample


@torch.no_grad()
def evaluate(model: PlainSegmenter, samples: Sequence[Sample], norm: Norm, device: torch.device) -> float:
    """Return the mIoU by the protocol `original`: sides to the nearest multiples of the patch, logits back."""
    model.eval()
    intersection, union = np.zeros(model.num_classes), np.zeros(model.num_classes)
    for sample in samples:
        assert sample.mask is not None, "a val sample"
        image_BCHW = norm(Image.open(sample.frames[0]).convert("RGB"))[None].to(device)
        truth_HW = np.array(Image.open(sample.mask))
        sides = image_BCHW.shape[2:]
        size = [max(1, int(side / model.patch + 0.5)) * model.patch for side in sides]
        logits = model(F.interpolate(image_BCHW, size, mode="bilinear", align_corners=True))
        logits = F.interpolate(logits, sides, mode="bilinear", align_corners=True)
        found = counts(logits.argmax(dim=1)[0].cpu().numpy(), truth_HW, model.num_classes)
        intersection, union = intersection + found[0], union + found[1]
    model.train()
    return float((intersection / np.maximum(union, 1)).mean())


def counts(said_HW: np.ndarray, truth_HW: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the intersection and the union of each class."""
    said_HW = np.where(truth_HW == IGNORED, IGNORED, said_HW)
    bins = np.arange(classes + 1)
    hit, said, true = (
        np.histogram(values, bins=bins)[0] for values in (said_HW[said_HW == truth_HW], said_HW, truth_HW)
    )
    return hit, said + true - hit


def both(
    student: PlainSegmenter, teacher: nn.Module, samples: Sequence[Sample], norm: Norm, device: torch.device
) -> list[float]:
    """Evaluate the student, then the teacher, each reading the images anew."""
    return [evaluate(model, samples, norm, device) for model in (student, teacher)]  # type: ignore[arg-type]
