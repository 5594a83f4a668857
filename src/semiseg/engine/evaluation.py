"""How good are the student and the teacher: mean intersection over union on the val images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.data import DatasetSpec, Sample
from semiseg.data.bands import read_picture
from semiseg.data.prefetch import prefetch
from semiseg.data.spec import Score, read_class_ids
from semiseg.engine.distributed import Processes
from semiseg.engine.inference import Block, Inference, Scorer
from semiseg.engine.quality import QualityCounts
from semiseg.engine.tiles import ON_DEVICE

_AHEAD = 4
"""How many samples are read ahead of the models."""


@dataclass(frozen=True)
class Evaluation:
    """Result of one model on the val images.

    Attributes:
        classes: the names of the classes.
        confusion_KK: counts of pixels, int64; rows are the truth, columns the prediction.
        score: name of the figure that a model is judged by.
    """

    classes: tuple[str, ...]
    confusion_KK: NDArray[np.int64]
    score: Score = "miou"

    @property
    def iou_K(self) -> NDArray[np.float64]:
        """Intersection over union of each class, 0 to 1; a class absent from truth and prediction counts as 0."""
        hit = np.diag(self.confusion_KK).astype(np.float64)
        union = self.confusion_KK.sum(0) + self.confusion_KK.sum(1) - hit
        iou_K: NDArray[np.float64] = hit / np.maximum(union, 1)
        return iou_K

    @property
    def miou(self) -> float:
        """Mean of `iou_K`, 0 to 1; as published, an absent class counts as 0."""
        return float(self.iou_K.mean())

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes that no mask shows, of which nothing can be said."""
        shown_K = self.confusion_KK.sum(1) > 0
        return tuple(name for name, shown in zip(self.classes, shown_K, strict=True) if not shown)

    @property
    def miou_present(self) -> float:
        """Mean of `iou_K` over the classes that a mask shows, 0 to 1; 0 if there is none."""
        shown_K = self.confusion_KK.sum(1) > 0
        return float(self.iou_K[shown_K].mean()) if shown_K.any() else 0.0

    @property
    def absence(self) -> str:
        """What has to be said of absent classes beside the mIoU; empty if there are none."""
        if not self.absent:
            return ""
        return (
            f"{len(self.absent)} of {len(self.classes)} classes are in no val mask: mIoU counts them as 0; over the "
            f"present classes it would be {self.miou_present:.2%}"
        )

    @property
    def scores(self) -> dict[str, float]:
        """Every figure of all classes by name, 0 to 1; of change detection those of the changed class come first."""
        changed = changed_scores(self.confusion_KK) if self.score == "changed_iou" else {}
        return changed | {"miou": self.miou}

    @property
    def judged_by(self) -> float:
        """The figure that a model is judged by, 0 to 1."""
        return self.scores[self.score]


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Everything an evaluation needs but the models.

    Attributes:
        samples: the val samples.
        spec: classes and ignore value.
        inference: how images are shown to a model.
        batch: images of one size at once; fewer if their scores would take more than `ON_DEVICE`, one if it is seen in
            tiles.
        max_pixels: size cap of an image.
    """

    samples: Sequence[Sample]
    spec: DatasetSpec
    inference: Inference
    batch: int
    max_pixels: int

    @torch.no_grad()
    def evaluate(
        self,
        models: Mapping[str, Scorer],
        processes: Processes,
        tick: Callable[[int], None] = lambda done: None,
        quality: QualityCounts | None = None,
    ) -> dict[str, Evaluation]:
        """Evaluate models on the same images, each image read once; the processes share the images.

        Args:
            models: models in eval mode on the process's device, by name.
            processes: who takes part; no image is counted twice.
            tick: called with the number of images done.
            quality: counts more of the last model, in the same pass, and where it disagrees with the one before.
        """
        # What goes wrong in one process ends the evaluation in all: the others would wait for its part.
        counts = processes.agreed(lambda: self._count(models, processes, tick, quality))
        return {
            name: Evaluation(self.spec.classes, processes.sum(count).cpu().numpy(), self.spec.score)
            for name, count in counts.items()
        }

    def quality_counts(self, threshold: float, device: torch.device) -> QualityCounts:
        """Return what counts the quality of a model in `evaluate`, with pixels kept from a confidence on."""
        spec = self.spec
        return QualityCounts(
            len(self.samples), spec.num_classes, threshold=threshold, ignore_value=spec.ignore_value, device=device
        )

    def _count(
        self,
        models: Mapping[str, Scorer],
        processes: Processes,
        tick: Callable[[int], None],
        quality: QualityCounts | None,
    ) -> dict[str, Tensor]:
        """Return this process's part of each model's confusion matrix."""
        classes, device = self.spec.num_classes, processes.device
        counts = {name: torch.zeros(classes, classes, dtype=torch.int64, device=device) for name in models}
        places, done, last = range(len(self.samples))[processes.rank :: processes.count], 0, list(models)[-1]
        for images_BTCHW, masks_BHW in self._batches(self.samples[processes.rank :: processes.count]):
            if quality:
                quality.begin(places[done : done + len(images_BTCHW)])
            for name, model in models.items():
                for number, block in enumerate(self.blocks(model, images_BTCHW, device)):
                    truth_BHW = masks_BHW[:, block.rows, block.columns].to(block.scores_BKHW.device)
                    said_BHW = block.scores_BKHW.argmax(dim=1)
                    confusion_BKK = self._confusion(truth_BHW, said_BHW)
                    counts[name] += confusion_BKK.sum(dim=0).to(device)
                    if quality:
                        quality.compare(number, said_BHW, truth_BHW)
                        if name == last:
                            quality.see(block, said_BHW, truth_BHW, confusion_BKK)
            if quality:
                quality.end()
            done += len(images_BTCHW)
            tick(done)
        return counts

    def _confusion(self, truth_BHW: Tensor, said_BHW: Tensor) -> Tensor:
        """Count the pixels of each image by (truth, prediction): int64 (B, K, K)."""
        pairs = zip(truth_BHW, said_BHW, strict=True)
        spec = self.spec
        return torch.stack([count_confusion(truth, said, spec.num_classes, spec.ignore_value) for truth, said in pairs])

    def blocks(self, model: Scorer, images_BTCHW: Tensor, device: torch.device) -> Iterator[Block]:
        """Score uint8 images of one size, piece by piece, on the model's device."""
        height, width = images_BTCHW.shape[-2:]
        return self.inference.blocks(model, lambda y, x: images_BTCHW[..., y, x].to(device), height, width)

    def read(self, sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read the frames (T, H, W, 3) and the mask (H, W) of a val sample."""
        assert sample.mask is not None, "check_dataset admits no val sample without a mask"
        frames = np.stack([np.asarray(read_picture(path, self.max_pixels, self.spec.shown)) for path in sample.frames])
        return frames, read_class_ids(sample.mask, self.spec, self.max_pixels)

    def _batches(self, samples: Sequence[Sample]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batch neighbours of one size: `images_BTCHW` and `masks_BHW`, uint8."""
        waiting: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        for frames, mask in prefetch(self.read, samples, ahead=_AHEAD):
            if waiting and (mask.shape != waiting[0][1].shape or len(waiting) >= self._at_once(*mask.shape)):
                yield _stack(waiting)
                waiting = []
            waiting.append((frames, mask))
        if waiting:
            yield _stack(waiting)

    def _at_once(self, height: int, width: int) -> int:
        """Return how many images of one size make a batch."""
        if self.inference.in_tiles(height, width):
            return 1
        return min(self.batch, max(1, ON_DEVICE // (4 * self.spec.num_classes * height * width)))


def _stack(pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> tuple[Tensor, Tensor]:
    frames_BTHWC = torch.from_numpy(np.stack([frames for frames, _ in pairs]))
    return frames_BTHWC.permute(0, 1, 4, 2, 3), torch.from_numpy(np.stack([mask for _, mask in pairs]))


def changed_scores(confusion_22: NDArray[np.int64]) -> dict[str, float]:
    """Return the figures of change detection, 0 to 1; class 1 is what changed.

    IoU, F1, precision and recall of the changed class, and the accuracy over all pixels. A figure without any pixel to
    count counts as 0.
    """
    kept, false = (int(count) for count in confusion_22[0])
    missed, found = (int(count) for count in confusion_22[1])
    return {
        "changed_iou": found / max(found + false + missed, 1),
        "changed_f1": 2 * found / max(2 * found + false + missed, 1),
        "changed_precision": found / max(found + false, 1),
        "changed_recall": found / max(found + missed, 1),
        "accuracy": (kept + found) / max(kept + false + missed + found, 1),
    }


def count_confusion(truth: Tensor, predicted: Tensor, classes: int, ignore_value: int) -> Tensor:
    """Count pixels by (truth, prediction): int64 (K, K). Pixels of `ignore_value` do not count.

    On the CPU in NumPy with 16 bits: `torch.bincount` takes 152 ms for a 2048 x 1024 map, this 7 ms.
    """
    valid = truth != ignore_value
    if truth.device.type != "cpu":
        pairs = truth[valid].long() * classes + predicted[valid]
        return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)
    wide = truth[valid].numpy().astype(np.uint16) * np.uint16(classes) + predicted[valid].numpy().astype(np.uint16)
    return torch.from_numpy(np.bincount(wide, minlength=classes * classes).reshape(classes, classes))
