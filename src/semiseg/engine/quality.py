"""How far a model's confidence can be trusted, and which images it does badly on: counted during an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.engine.distributed import Processes
from semiseg.engine.inference import Block

BINS = 15
"""Bins of confidence, equally wide (Guo et al. 2017, arXiv 1706.04599)."""
_UNITS = 65535
"""Confidence is summed in these parts of 1, as integers: sums of those are the same in any order."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What an evaluation tells of a model beside its score; a figure without any pixel to count is 0.

    Attributes:
        threshold: confidence from which on a pixel is kept, as a pseudo-label is.
        pixels_B: val pixels in each bin of confidence, from 0 to 1.
        right_B: those of them that are right.
        confidence_B: sums of their confidence.
        kept_K: kept pixels that are said to be of each class.
        kept_right_K: those of them that are right.
        predicted_K: predicted quality of each class, the soft Dice confidence 2 sum(p y) / (sum p + sum y) of its
            probability p and of y, whether it is the prediction, over all pixels (arXiv 2402.10665); 0 if never said.
        images_N3: of each val image, in the order of the samples: predicted quality (the mean of its predicted
            classes), mean IoU of its true or predicted classes, accuracy; nan where its mask has no valid pixel.
        pixels_N: pixels of each val image.
        disagreement: share of valid pixels on which student and teacher disagree; None where there is but one model.
    """

    threshold: float
    pixels_B: NDArray[np.int64]
    right_B: NDArray[np.int64]
    confidence_B: NDArray[np.float64]
    kept_K: NDArray[np.int64]
    kept_right_K: NDArray[np.int64]
    predicted_K: NDArray[np.float64]
    images_N3: NDArray[np.float64]
    pixels_N: NDArray[np.int64]
    disagreement: float | None

    @property
    def ece(self) -> float:
        """Expected calibration error: how far confidence is from accuracy in a bin, weighted by the bins' pixels."""
        return float(np.abs(self.right_B - self.confidence_B).sum() / max(self.pixels_B.sum(), 1))

    @property
    def kept(self) -> float:
        """Share of val pixels that are confident enough to be kept."""
        return float(self.kept_K.sum() / max(self.pixels_B.sum(), 1))

    @property
    def kept_right(self) -> float:
        """Share of the kept pixels that are right: the reliability of what would teach."""
        return float(self.kept_right_K.sum() / max(self.kept_K.sum(), 1))

    @property
    def rank_agreement(self) -> float | None:
        """Spearman's correlation of predicted quality and IoU over the val images; None for fewer than three."""
        images = self.images_N3[~np.isnan(self.images_N3[:, 1])]
        if len(images) < 3:
            return None
        ranks = images[:, :2].argsort(axis=0).argsort(axis=0)
        return float(np.asarray(np.corrcoef(ranks.T)).flat[1])

    def numbers(self) -> dict[str, float]:
        """Return the figures for `metrics.csv`, 0 to 1."""
        found = {"quality/ece": self.ece, "quality/kept": self.kept, "quality/kept_right": self.kept_right}
        return found if self.disagreement is None else found | {"quality/disagreement": self.disagreement}

    def as_json(self, classes: Sequence[str], samples: Sequence[str]) -> dict[str, Any]:
        """Return everything as plain values.

        Args:
            classes: names of the classes.
            samples: ids of the val samples.
        """
        per_bin = zip(self.pixels_B.tolist(), self.right_B.tolist(), self.confidence_B.tolist(), strict=True)
        per_class = zip(classes, self.kept_K, self.kept_right_K, self.predicted_K, strict=True)
        per_image = zip(samples, self.images_N3.tolist(), self.pixels_N.tolist(), strict=True)
        return {
            "threshold": self.threshold,
            "ece": self.ece,
            "kept": self.kept,
            "kept_right": self.kept_right,
            "disagreement": self.disagreement,
            "rank_agreement": self.rank_agreement,
            "bins": [{"pixels": n, "right": right, "confidence": total} for n, right, total in per_bin],
            "classes": [
                {"name": name, "kept": int(kept), "kept_right": int(right), "predicted": round(float(predicted), 6)}
                for name, kept, right, predicted in per_class
            ],
            "images": [
                {
                    **{"id": id_, "predicted": round(predicted, 6), "iou": round(iou, 6)},
                    **{"accuracy": round(accuracy, 6), "pixels": pixels},
                }
                for id_, (predicted, iou, accuracy), pixels in per_image
                if iou == iou
            ],
        }


class QualityCounts:
    """Counts for `Quality` on the device, batch by batch; of each image it holds a few figures.

    Args:
        samples: number of val samples.
        classes: number of classes.
        threshold: see `Quality`.
        ignore_value: of masks.
        device: of the models.
    """

    def __init__(
        self, samples: int, classes: int, *, threshold: float, ignore_value: int, device: torch.device
    ) -> None:
        self.threshold, self.ignore_value, self.classes, self.device = threshold, ignore_value, classes, device
        self.table = torch.zeros(classes * 4 * BINS, dtype=torch.int64, device=device)
        """Valid pixels by class, whether right, whether kept, and bin."""
        self.units_B = torch.zeros(BINS, dtype=torch.float64, device=device)
        self.compared_2 = torch.zeros(2, dtype=torch.int64, device=device)
        self.images_N5 = torch.zeros(samples, 5, dtype=torch.float64, device=device)
        """As `Quality.images_N3`, whether the image has a valid pixel, and its pixels."""
        self.soft_3K = torch.zeros(3, classes, dtype=torch.float64, device=device)
        self._batch_BK3 = self._confusion_BKK = torch.zeros(0)

    def begin(self, samples: Sequence[int]) -> None:
        """Make room for a batch of images, which are these of all samples."""
        self._samples, images = list(samples), len(samples)
        self._said: list[Tensor] = []
        self._pixels = 0
        self._batch_BK3 = torch.zeros(images, self.classes, 3, dtype=torch.float64, device=self.device)
        self._confusion_BKK = torch.zeros(images, self.classes, self.classes, dtype=torch.int64, device=self.device)

    def see(self, block: Block, said_BHW: Tensor, truth_BHW: Tensor, confusion_BKK: Tensor) -> Tensor:
        """Count a block of the judged model.

        Args:
            block: its scores.
            said_BHW: its classes.
            truth_BHW: the mask.
            confusion_BKK: counts of pixels by truth and prediction, of each image.

        Returns:
            confidence_BHW: the probability of the said class, fp32.
        """
        probability_BKHW = block.probabilities()
        confidence_BHW = probability_BKHW.amax(dim=1)
        valid_BHW = truth_BHW != self.ignore_value
        units_BHW = (confidence_BHW * _UNITS).round().long()
        bins_BHW = units_BHW * BINS // (_UNITS + 1)
        cells_BHW = (
            (said_BHW * 2 + (said_BHW == truth_BHW)) * 2 + (confidence_BHW >= self.threshold)
        ) * BINS + bins_BHW
        # Ignored pixels go to a cell of their own: to leave them out by a mask costs more than to count them.
        cells, bins = (torch.where(valid_BHW, at, end) for at, end in ((cells_BHW, len(self.table)), (bins_BHW, BINS)))
        self.table += _count(cells, len(self.table) + 1)[:-1].to(self.device).long()
        self.units_B += _count(bins, BINS + 1, units_BHW)[:-1].to(self.device)
        images = len(said_BHW)
        self._pixels += said_BHW[0].numel()
        places_BHW = torch.arange(images, device=said_BHW.device)[:, None, None] * self.classes + said_BHW
        size = images * self.classes
        both_BK = _count(places_BHW, size, confidence_BHW).view(images, self.classes)
        said_BK = _count(places_BHW, size).view(images, self.classes)
        found_BK3 = torch.stack((both_BK, probability_BKHW.sum(dim=(2, 3)).double(), said_BK), dim=2)
        self._batch_BK3 += found_BK3.to(self.device)
        self._confusion_BKK += confusion_BKK.to(self.device)
        return confidence_BHW

    def compare(self, number: int, said_BHW: Tensor, truth_BHW: Tensor) -> None:
        """Hold the classes of a block of one model against those of the model before it."""
        if number == len(self._said):
            self._said.append(said_BHW.to(torch.uint8))
            return
        valid_BHW = truth_BHW != self.ignore_value
        differing = (said_BHW.to(torch.uint8) != self._said[number]) & valid_BHW
        self.compared_2 += torch.stack((differing.sum(), valid_BHW.sum())).to(self.device)

    def end(self) -> Tensor:
        """Note the figures of the images of the batch; return the mean IoU of each, nan where no pixel is valid."""
        both_BK, probability_BK, said_BK = self._batch_BK3.unbind(dim=2)
        dice_BK = 2 * both_BK / (probability_BK + said_BK).clamp(min=1e-12)
        predicted_B = _mean_where(dice_BK, said_BK > 0)
        hit_BK = self._confusion_BKK.diagonal(dim1=1, dim2=2)
        union_BK = self._confusion_BKK.sum(1) + self._confusion_BKK.sum(2) - hit_BK
        iou_B = _mean_where(hit_BK / union_BK.clamp(min=1), union_BK > 0)
        valid_B = self._confusion_BKK.sum(dim=(1, 2))
        accuracy_B = hit_BK.sum(dim=1) / valid_B.clamp(min=1)
        found_B5 = (predicted_B, iou_B, accuracy_B, (valid_B > 0).double(), torch.full_like(iou_B, self._pixels))
        self.images_N5[self._samples] = torch.stack(found_B5, dim=1)
        self.soft_3K += self._batch_BK3.sum(dim=0).T
        return torch.where(valid_B > 0, iou_B, math.nan)

    def result(self, processes: Processes) -> Quality:
        """Add up what all processes have counted."""
        table = processes.sum(self.table).cpu().numpy().reshape(self.classes, 2, 2, BINS)
        both_K, probability_K, said_K = processes.sum(self.soft_3K).cpu().numpy()
        images_N5 = processes.sum(self.images_N5).cpu().numpy()
        differing, compared = processes.sum(self.compared_2).tolist()
        return Quality(
            threshold=self.threshold,
            pixels_B=table.sum(axis=(0, 1, 2)),
            right_B=table[:, 1].sum(axis=(0, 1)),
            confidence_B=processes.sum(self.units_B).cpu().numpy() / _UNITS,
            kept_K=table[:, :, 1].sum(axis=(1, 2)),
            kept_right_K=table[:, 1, 1].sum(axis=1),
            predicted_K=np.where(said_K > 0, 2 * both_K / np.maximum(probability_K + said_K, 1e-12), 0.0),
            images_N3=np.where(images_N5[:, 3:4] > 0, images_N5[:, :3], np.nan),
            pixels_N=images_N5[:, 4].astype(np.int64),
            disagreement=differing / compared if compared else None,
        )


def _mean_where(values_BK: Tensor, counted_BK: Tensor) -> Tensor:
    """Return the mean of the counted values of each row; 0 without any."""
    return (values_BK * counted_BK).sum(dim=1) / counted_BK.sum(dim=1).clamp(min=1)


def _count(values: Tensor, size: int, weights: Tensor | None = None) -> Tensor:
    """Count integers below `size`, or sum up their weights: float64; on the CPU in NumPy (see `count_confusion`)."""
    values, weights = values.flatten(), None if weights is None else weights.flatten().double()
    if values.device.type == "cpu":
        heavy = None if weights is None else weights.numpy()
        return torch.from_numpy(np.bincount(values.numpy(), heavy, minlength=size)).double()
    return torch.bincount(values, weights, minlength=size).double()
