"""How good are the student and the teacher: mean intersection over union on the val images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.data import DatasetSpec, Sample
from semiseg.data.bands import read_picture
from semiseg.data.prefetch import prefetch
from semiseg.data.reading import open_image
from semiseg.data.spec import Score, read_class_ids
from semiseg.engine.distributed import Processes
from semiseg.engine.inference import Block, Inference, Scorer
from semiseg.engine.keepsakes import Keepsakes
from semiseg.engine.quality import QualityCounts
from semiseg.engine.tiles import ON_DEVICE

_AHEAD = 2**28
"""Bytes of samples that are read ahead of the models."""
_PIXELS = 2**21
"""Pixels of a batch. For each a ViT-L with 150 classes holds 2.5 kB of tensors (measured), so 5 GB for all of them."""
_PIXELS_CPU = 2**19
"""The same without a GPU, where more at once are slower: EfficientNet-Lite0 takes 0.27, 0.28 and 0.32 s an image of
480 x 360 in batches of 1, 4 and 12 (two cores of an AMD EPYC, 2026-11-28)."""


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
        batch: images of one size at once; fewer if they have more than 2**21 pixels (2**19 without a GPU), or their
            scores would take more than `ON_DEVICE`; one if it is seen in tiles.
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
        keepsakes: Keepsakes | None = None,
    ) -> dict[str, Evaluation]:
        """Evaluate models on the same images, each image read once; the processes share the batches.

        Args:
            models: models in eval mode on the process's device, by name.
            processes: who takes part; no image is counted twice.
            tick: called with the number of images done.
            quality: counts more of the last model, in the same pass, and where it disagrees with the one before.
            keepsakes: keeps what the last model says of some images; needs `quality`.
        """
        # What goes wrong in one process ends the evaluation in all: the others would wait for its part.
        counts = processes.agreed(lambda: self._count(models, processes, tick, quality, keepsakes))
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
        keepsakes: Keepsakes | None,
    ) -> dict[str, Tensor]:
        """Return this process's part of each model's confusion matrix."""
        classes, device = self.spec.num_classes, processes.device
        counts = {name: torch.zeros(classes, classes, dtype=torch.int64, device=device) for name in models}
        done, last = 0, list(models)[-1]
        for places, images_BTCHW, masks_BHW in self._read_batches(self.batches[processes.rank :: processes.count]):
            if quality:
                quality.begin(places)
            if keepsakes:
                keepsakes.begin(places)
            for name, model in models.items():
                for number, block in enumerate(self.blocks(model, images_BTCHW, device)):
                    truth_BHW = masks_BHW[:, block.rows, block.columns].to(block.scores_BKHW.device)
                    said_BHW = block.scores_BKHW.argmax(dim=1)
                    confusion_BKK = count_confusion(truth_BHW, said_BHW, classes, self.spec.ignore_value)
                    counts[name] += confusion_BKK.sum(dim=0).to(device)
                    if quality:
                        quality.compare(number, said_BHW, truth_BHW)
                        if name == last:
                            confidence_BHW = quality.see(block, said_BHW, truth_BHW, confusion_BKK)
                            if keepsakes:
                                keepsakes.see(block.rows, block.columns, said_BHW, confidence_BHW)
            if quality:
                iou_B = quality.end()
                if keepsakes:
                    keepsakes.end(iou_B)
            done += len(images_BTCHW)
            tick(done)
        return counts

    def blocks(self, model: Scorer, images_BTCHW: Tensor, device: torch.device) -> Iterator[Block]:
        """Score uint8 images of one size, piece by piece, on the model's device."""
        height, width = images_BTCHW.shape[-2:]
        return self.inference.blocks(model, lambda y, x: images_BTCHW[..., y, x].to(device), height, width)

    def read(self, sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read the frames (T, H, W, 3) and the mask (H, W) of a val sample."""
        frames = np.stack([np.asarray(read_picture(path, self.max_pixels, self.spec.shown)) for path in sample.frames])
        return frames, self.read_mask(sample)

    def read_mask(self, sample: Sample) -> NDArray[np.uint8]:
        """Read the mask (H, W) of a val sample."""
        assert sample.mask is not None, "check_dataset admits no val sample without a mask"
        return read_class_ids(sample.mask, self.spec, self.max_pixels)

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each sample, as it is read, by the headers of the masks."""
        return tuple(prefetch(self._size, self.samples))

    def _size(self, sample: Sample) -> tuple[int, int]:
        assert sample.mask is not None, "check_dataset admits no val sample without a mask"
        with open_image(sample.mask, self.max_pixels) as mask:
            width, height = self.spec.shown.size(mask.size)
            return height, width

    @cached_property
    def batches(self) -> tuple[tuple[int, ...], ...]:
        """The places of the samples of each batch, which are of one size.

        They do not depend on the number of processes, which take whole batches: which images share one decides how sums
        are rounded, so a pixel that two classes claim alike is of the same class in any run.
        """
        waiting: dict[tuple[int, int], list[int]] = {}
        full = []
        for place, size in enumerate(self.sizes):
            waiting.setdefault(size, []).append(place)
            if len(waiting[size]) == self._at_once(*size):
                full.append(tuple(waiting.pop(size)))
        return (*full, *map(tuple, waiting.values()))

    def _read_batches(self, batches: Sequence[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], Tensor, Tensor]]:
        """Read batches ahead: their places, `images_BTCHW` and `masks_BHW`, uint8."""
        places = [place for batch in batches for place in batch]
        bytes_ = [(3 * len(self.samples[place].frames) + 1) * math.prod(self.sizes[place]) for place in places]
        ahead = min(self.batch, max(2, _AHEAD // max(bytes_, default=1)))
        read = prefetch(self.read, (self.samples[place] for place in places), ahead=ahead)
        for batch in batches:
            yield batch, *_stack([next(read) for _ in batch])

    def _at_once(self, height: int, width: int) -> int:
        """Return how many images of one size make a batch."""
        if self.inference.in_tiles(height, width):
            return 1
        pixels, most = height * width, _PIXELS if torch.cuda.is_available() else _PIXELS_CPU
        fitting = min(most // (len(self.spec.frames) * pixels), ON_DEVICE // (4 * self.spec.num_classes * pixels))
        return min(self.batch, max(1, fitting))


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


def count_confusion(truth_BHW: Tensor, said_BHW: Tensor, classes: int, ignore_value: int) -> Tensor:
    """Count the pixels of each image by (truth, prediction): int64 (B, K, K).

    Pixels of `ignore_value` go to cells behind the others: to leave them out by a mask costs more than to count them.
    On the CPU in NumPy with 16 bits: `torch.bincount` takes 152 ms for a 2048 x 1024 map, this 7 ms.

    Args:
        truth_BHW: class ids or `ignore_value`, uint8.
        said_BHW: class ids of any integer type, on the same device.
        classes: K, at most 255.
        ignore_value: the id of pixels that do not count.
    """
    size = classes * (classes + 1)
    if truth_BHW.device.type == "cpu":
        row_of = (np.arange(256) * classes).astype(np.uint16)
        row_of[ignore_value] = classes * classes
        pairs = zip(truth_BHW.numpy(), said_BHW.numpy(), strict=True)
        counts = [
            np.bincount((row_of[truth] + said.astype(np.uint16)).ravel(), minlength=size) for truth, said in pairs
        ]
        counts_BN = torch.from_numpy(np.stack(counts))
    else:
        rows_BHW = torch.where(truth_BHW == ignore_value, classes, truth_BHW.long())
        images_B11 = torch.arange(len(truth_BHW), device=truth_BHW.device)[:, None, None]
        cells_BHW = images_B11 * size + rows_BHW * classes + said_BHW
        counts_BN = torch.bincount(cells_BHW.flatten(), minlength=len(truth_BHW) * size).view(-1, size)
    return counts_BN[:, : classes * classes].view(-1, classes, classes)
