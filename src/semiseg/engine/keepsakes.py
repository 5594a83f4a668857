"""What a model said of some val images, kept from an evaluation for its pictures: nothing is predicted twice."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.engine.distributed import Processes

_LONGEST = 1024
"""Pixels of the longer side of an image that are kept, up to twice as many, for pictures of a few hundred."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model said of an image: every `step_of`-th pixel.

    Attributes:
        label_HW: class ids, uint8.
        confidence_HW: the probability of each, 0 to 1.
    """

    label_HW: NDArray[np.uint8]
    confidence_HW: NDArray[np.float32]


def step_of(height: int, width: int) -> int:
    """Return the distance of the pixels of an image that are kept, as a picture shows no more."""
    return max(1, max(height, width) // _LONGEST)


class Keepsakes:
    """Keeps what is said of chosen images, and of the worst and the best so far.

    Args:
        sizes: height and width of each val image.
        chosen: places of images to keep.
        extremes: how many of the worst and of the best images to keep.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], chosen: Sequence[int], extremes: int) -> None:
        self._sizes, self._chosen, self._extremes = sizes, frozenset(chosen), extremes
        self._kept: dict[int, Tensor] = {}
        """By place: class ids and confidence, fp32, (2, H, W) less the pixels between."""
        self._iou: dict[int, float] = {}
        self._places: Sequence[int] = ()
        self._maps_B2HW = torch.zeros(0)

    def begin(self, places: Sequence[int]) -> None:
        """Make room for a batch of images of one size, which are these of all."""
        self._places = places
        self._maps_B2HW = torch.zeros(len(places), 2, *self._kept_size(places[0]))

    def see(self, rows: slice, columns: slice, said_BHW: Tensor, confidence_BHW: Tensor) -> None:
        """Take what is said of a block of the batch."""
        step = step_of(*self._sizes[self._places[0]])
        (top, y), (left, x) = ((-(-part.start // step), -part.start % step) for part in (rows, columns))
        maps_B2hw = torch.stack([maps[:, y::step, x::step].float() for maps in (said_BHW, confidence_BHW)], dim=1)
        self._maps_B2HW = self._maps_B2HW.to(maps_B2hw.device)
        self._maps_B2HW[:, :, top : top + maps_B2hw.shape[2], left : left + maps_B2hw.shape[3]] = maps_B2hw

    def end(self, iou_B: Tensor) -> None:
        """Keep what is worth it of the batch.

        Args:
            iou_B: the mean IoU of its images; nan: it cannot be told.
        """
        new = zip(self._places, iou_B.tolist(), strict=True)
        self._iou |= {place: iou for place, iou in new if not math.isnan(iou)}
        wanted = self._chosen | {*lowest(self._iou, self._extremes), *highest(self._iou, self._extremes)}
        new_maps = zip(self._places, self._maps_B2HW, strict=True)
        self._kept |= {place: maps_2HW.cpu().clone() for place, maps_2HW in new_maps if place in wanted}
        self._kept = {place: maps_2HW for place, maps_2HW in self._kept.items() if place in wanted}

    def _kept_size(self, place: int) -> tuple[int, int]:
        height, width = self._sizes[place]
        step = step_of(height, width)
        return -(-height // step), -(-width // step)

    def gathered(self, places: Collection[int], processes: Processes) -> dict[int, Seen]:
        """Return what was kept of images, whichever process has it; all processes must call.

        Args:
            places: chosen ones, or of the worst and the best of all.
            processes: who has taken part in the evaluation.
        """
        found = {}
        for place in sorted(places):
            maps_2HW = self._kept.get(place, torch.zeros(2, *self._kept_size(place)))
            found[place] = _seen(processes.sum(maps_2HW.to(processes.device)))
        return found

    def kept(self, place: int) -> Seen:
        """Return what this process has kept of an image."""
        return _seen(self._kept[place])


def _seen(maps_2HW: Tensor) -> Seen:
    label_HW, confidence_HW = maps_2HW.cpu().numpy()
    return Seen(label_HW.astype(np.uint8), confidence_HW)


def lowest(iou: dict[int, float], count: int) -> list[int]:
    """Return the places of the lowest, the lowest first; of equals those that come first."""
    return sorted(iou, key=lambda place: (iou[place], place))[:count]


def highest(iou: dict[int, float], count: int) -> list[int]:
    """Return the places of the highest, the highest first; of equals those that come last."""
    return sorted(iou, key=lambda place: (iou[place], place))[: -count - 1 : -1]
