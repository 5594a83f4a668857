"""The batches of a whole run, each a pure function of the seed and its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from semiseg.augment import StrongViewConfig, ViewDraws, cutmix, draw_view, stack_views
from semiseg.data.bands import read_picture
from semiseg.data.batch import Batch, Labeled, PixelCounts, Place, Taught, Unlabeled
from semiseg.data.config import DataConfig
from semiseg.data.datasets import Dataset
from semiseg.data.decoded import decoded_cache
from semiseg.data.fingerprints import refuse_other_size
from semiseg.data.geometry import Geometry, crop_image, crop_mask, cut_mask, draw_geometry, pad_mask, padding
from semiseg.data.index import index_of
from semiseg.data.lists import Sample, listed_name
from semiseg.data.manifest import hold_against
from semiseg.data.shuffle import Order, shuffled
from semiseg.data.spec import read_class_ids
from semiseg.data.taught import read_label
from semiseg.errors import DataError
from semiseg.seeding import rng

_REDRAWS = 20
"""How often a sample is drawn in the place of one that cannot be read; where all fail, most of the data is gone."""

_UNLABELED_SHARE = 0.5
"""Part of the cache that unlabeled images may fill; labeled ones are read more often."""


@dataclass(frozen=True, kw_only=True)
class Division:
    """How the global batch is divided.

    Attributes:
        labeled: labeled samples in the global batch.
        unlabeled: unlabeled samples in the global batch, 0 for methods that use none.
        processes: training processes.
        rank: this process.
        accumulate: forward passes of each process in a step.
    """

    labeled: int
    unlabeled: int
    processes: int = 1
    rank: int = 0
    accumulate: int = 1

    @property
    def chunks(self) -> int:
        """Number of chunks of the global batch, divisor of `labeled` and `unlabeled`."""
        return self.processes * self.accumulate


def positions(batch: int, chunk: int, chunks: int) -> list[int]:
    """Return which places of the global batch belong to a chunk, in the chunk's order.

    CutMix pastes from the batch in reverse order: place i gets place batch-1-i. A chunk of even size therefore takes
    places from both ends, so that the partner of each is in the same chunk at the mirrored place and the mixed images
    do not depend on the division. A chunk of odd size cannot hold both of every pair and takes a contiguous piece.
    """
    size = batch // chunks
    if size % 2 or chunks == 1:
        return list(range(chunk * size, (chunk + 1) * size))
    front = list(range(chunk * size // 2, (chunk + 1) * size // 2))
    return front + [batch - 1 - place for place in reversed(front)]


class TrainStream(TorchDataset[Batch]):
    """All chunks of a run; item `n` is chunk `n % accumulate` of step `n // accumulate` in this process.

    An epoch is one pass over the unlabeled list, the labeled list repeated and truncated to its length; without
    unlabeled samples, one pass over the labeled list repeated to at least `config.labeled_epoch` samples.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: DataConfig,
        division: Division,
        *,
        strong: StrongViewConfig,
        views: int,
        seed: int,
        steps: int | None = None,
        labeled_views: int = 0,
        labeled_mixed: bool = False,
        second: bool = False,
        warm_up: float = 0.0,
        own_from: float = 1.0,
    ) -> None:
        """Prepare the stream; nothing is read yet.

        Args:
            dataset: the samples.
            config: crop, scale, size cap.
            division: how the global batch is divided.
            strong: the distribution of strong views.
            views: strong views of each unlabeled image.
            seed: the run's seed.
            steps: length of the stream in steps; default one epoch.
            labeled_views: strong views of each labeled image.
            labeled_mixed: whether CutMix will paste from one labeled crop to another, in the first of these views.
            second: draw a second unlabeled batch beside the first.
            warm_up: part of the steps at the begin that get no unlabeled images, 0 to 1.
            own_from: part of the steps after which no labels of a trained teacher are read, 0 to 1.
        """
        self.dataset, self.config, self.division = dataset, config, division
        self.strong, self.views, self.seed = strong, views, seed
        self.labeled_views, self.labeled_mixed, self.second = labeled_views, labeled_mixed, second
        self.warm_up, self.own_from = warm_up, own_from
        self.steps = self.steps_per_epoch if steps is None else steps
        self._decoded = decoded_cache(config.cache)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass; the incomplete last batch is dropped, but there is at least one step."""
        if self.division.unlabeled:
            return max(1, len(self.dataset.unlabeled) // self.division.unlabeled)
        return max(1, max(len(self.dataset.labeled), self.config.labeled_epoch) // self.division.labeled)

    def __len__(self) -> int:
        """Return the number of chunks that this process works on."""
        return self.steps * self.division.accumulate

    def __getitem__(self, index: int) -> Batch:
        """Read and draw one chunk."""
        division = self.division
        step, part = divmod(index, division.accumulate)
        chunk = division.rank * division.accumulate + part
        epoch, number = divmod(step, self.steps_per_epoch)
        labeled = positions(division.labeled, chunk, division.chunks)
        unlabeled = positions(division.unlabeled, chunk, division.chunks) if division.unlabeled else []
        place = Place(
            seed=self.seed,
            step=step,
            steps=self.steps,
            steps_per_epoch=self.steps_per_epoch,
            batch=division.unlabeled,
            chunks=division.chunks,
            positions_B=torch.tensor(unlabeled, dtype=torch.int64),
        )
        damaged: dict[str, str] = {}

        def drawn(purpose: str, wanted: bool = True) -> tuple[Unlabeled | None, list[str]]:
            if not (wanted and unlabeled) or place.is_before(self.warm_up):
                return None, []
            slots = [number * division.unlabeled + position for position in unlabeled]
            return self._unlabeled(epoch, slots, purpose, damaged, taught=place.is_before(self.own_from))

        labeled_slots = [number * division.labeled + position for position in labeled]
        labeled_part, labeled_ids = self._labeled(epoch, labeled_slots)
        unlabeled_part, unlabeled_ids = drawn("unlabeled")
        second_part, second_ids = drawn("second unlabeled", self.second)
        return Batch(
            place=place,
            labeled=labeled_part,
            unlabeled=unlabeled_part,
            second=second_part,
            pixels=self._pixels(labeled_part, unlabeled_part, second_part),
            ids=(*labeled_ids, *unlabeled_ids, *second_ids),
            damaged=tuple(damaged.items()),
        )

    def _order(self, epoch: int, purpose: str, count: int) -> Order:
        batch = self.division.labeled if purpose == "labeled" else self.division.unlabeled
        index = None if purpose == "labeled" else index_of(self.dataset.unlabeled)
        near = index is not None and index.has_archives
        return shuffled(self.seed, epoch, purpose, count, self.steps_per_epoch * batch, near=near)

    def _draw_geometry(self, epoch: int, purpose: str, slot: int, size: tuple[int, int]) -> Geometry:
        draws = rng(self.seed, f"geometry of {purpose}", epoch, slot)
        return draw_geometry(draws, size, self.config.crop, self.config.scale)

    def _labeled(self, epoch: int, slots: Sequence[int]) -> tuple[Labeled, list[str]]:
        order = self._order(epoch, "labeled", len(self.dataset.labeled))
        images, masks, ids = [], [], []
        drawn: list[list[ViewDraws]] = []
        for slot in slots:
            sample = self.dataset.labeled[order[slot]]
            frames = [self._read(path, 1.0) for path in sample.frames]
            geometry = self._draw_geometry(epoch, "labeled", slot, frames[0].size)
            images.append(np.stack([crop_image(frame, geometry) for frame in frames]))
            masks.append(self._mask(sample, geometry))
            drawn.append(self._draw_views("strong view of labeled", epoch, slot, len(frames), self.labeled_views))
            ids.append(sample.id)
        views = tuple(map(stack_views, zip(*drawn, strict=True)))
        return Labeled(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)), views), ids

    def _draw_views(self, purpose: str, epoch: int, slot: int, frames: int, views: int) -> list[ViewDraws]:
        generators = (rng(self.seed, purpose, epoch, slot, view) for view in range(views))
        return [draw_view(generator, frames, self.config.crop, self.strong) for generator in generators]

    def _mask(self, sample: Sample, geometry: Geometry) -> NDArray[np.uint8]:
        """Read a mask's crop; what the crop does not show was looked at before the first step."""
        assert sample.mask is not None, "check_dataset admits no labeled sample without a mask"
        self._hold_against_checksum(sample.mask)
        spec = self.dataset.spec
        path, cap = sample.mask, self.config.max_pixels
        if self._decoded:
            how = f"class ids of {spec.meaning}, long side {spec.long_side}"
            whole_HW = self._decoded.array(path, how, lambda: read_class_ids(path, spec, cap))
            return crop_mask(whole_HW, geometry, spec.ignore_value)
        ids_HW = read_class_ids(path, spec, cap, lambda mask: cut_mask(mask, geometry))
        return pad_mask(ids_HW, geometry, spec.ignore_value)

    def _unlabeled(
        self, epoch: int, slots: Sequence[int], purpose: str, damaged: dict[str, str], *, taught: bool
    ) -> tuple[Unlabeled, list[str]]:
        strong = "strong view" if purpose == "unlabeled" else f"strong view of {purpose}"
        images, ignores, ids = [], [], []
        drawn: list[list[ViewDraws]] = []
        labels: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        for slot in slots:
            sample, frames = self._draw_unlabeled(epoch, slot, purpose, damaged)
            geometry = self._draw_geometry(epoch, purpose, slot, frames[0].size)
            images.append(np.stack([crop_image(frame, geometry) for frame in frames]))
            ignores.append(padding(geometry))
            drawn.append(self._draw_views(strong, epoch, slot, len(frames), self.views))
            if taught and self.config.teacher:
                maps = read_label(Path(self.config.teacher), sample, frames[0].size)
                label_HW, confidence_HW = (crop_mask(map_HW, geometry, fill=0) for map_HW in maps)
                labels.append((label_HW, confidence_HW))
            ids.append(sample.id)
        views = tuple(map(stack_views, zip(*drawn, strict=True)))
        said = Taught(*(torch.from_numpy(np.stack(maps)) for maps in zip(*labels, strict=True))) if labels else None
        return Unlabeled(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(ignores)), views, said), ids

    def _draw_unlabeled(
        self, epoch: int, slot: int, purpose: str, damaged: dict[str, str]
    ) -> tuple[Sample, list[Image.Image]]:
        """Read the sample of a slot; in the place of one that cannot be read another is drawn, for this slot alone.

        So the other slots keep their samples, and the run is the same for any number of workers and processes.
        """
        samples = self.dataset.unlabeled
        order = self._order(epoch, purpose, len(samples))
        redraws = rng(self.seed, f"redraw of {purpose}", epoch, slot).integers(len(samples), size=_REDRAWS)
        for index in (order[slot], *redraws):
            sample = samples[index]
            try:
                for path, size in zip(sample.frames, sample.sizes, strict=False):
                    refuse_other_size(path, size)
                return sample, [self._read(path, _UNLABELED_SHARE) for path in sample.frames]
            except DataError as error:
                if not self.config.quarantine:
                    raise
                damaged[sample.id], last = str(error), error
        raise last

    def _read(self, path: Path, share: float) -> Image.Image:
        self._hold_against_checksum(path)
        cap, shown = self.config.max_pixels, self.dataset.spec.shown
        if not self._decoded:
            return read_picture(path, cap, shown)
        how = f"image as {shown}"
        return Image.fromarray(
            self._decoded.array(path, how, lambda: np.asarray(read_picture(path, cap, shown)), share)
        )

    def _hold_against_checksum(self, path: Path) -> None:
        known = self.dataset.checksums
        sha256 = known.get(listed_name(path, self.dataset.root)) if known else None
        if sha256:
            hold_against(path, sha256)

    def _pixels(self, labeled: Labeled, unlabeled: Unlabeled | None, second: Unlabeled | None) -> PixelCounts:
        """Count here in the worker, from masks and boxes alone: the loop reduces the counts before the forward pass."""
        zero = torch.zeros((), dtype=torch.float64)
        labels = labeled.mask_BHW != self.dataset.spec.ignore_value
        if self.labeled_mixed:
            labels = cutmix(labels, labeled.views[0].box_B4)
        counts = labels.sum(dtype=torch.float64)
        if unlabeled is None:
            return PixelCounts(counts, zero, torch.zeros(self.views, dtype=torch.float64))
        valid, content = ~unlabeled.ignore_BHW, ~second.ignore_BHW if second else None
        views = [cutmix(valid, view.box_B4, content).sum(dtype=torch.float64) for view in unlabeled.views]
        return PixelCounts(counts, valid.sum(dtype=torch.float64), torch.stack(views) if views else zero[None][:0])
