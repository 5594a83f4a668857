"""Photometric views on a CPU: sample by sample, so that each pays only for what it drew, in place and in strips.

A strip is some rows of a view. All operations are done on it while it lies in the cache: memory is what limits a CPU
here. Contrast needs the mean of the whole image, so a stage of strips ends before it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from semiseg.augment.draws import (
    BLUR_RADIUS,
    BRIGHTNESS,
    CONTRAST,
    HUE,
    LUMA,
    SATURATION,
    PhotometricDraws,
    blur_kernels,
)

STRIP_PIXELS = 65_536
"""Pixels of a strip, at least one row: smaller ones lose more to calls of torch than the cache wins (measured)."""


def make_views(images_NCHW: Tensor, draws: PhotometricDraws) -> Tensor:
    """Make the view of each image.

    Args:
        images_NCHW: RGB of any memory layout, uint8 in 0..255 or float in 0..1.
        draws: of shape (N,).

    Returns:
        (N, 3, H, W) in 0..1, contiguous; float32, as long as that is torch's default.
    """
    number, channels, height, width = images_NCHW.shape
    views_NCHW = torch.empty(number, channels, height, width)
    room = _room(height, width)
    factors_N4 = draws.factors.clone()
    factors_N4[:, HUE] *= 6  # in sixths of a turn
    kernels = [[weight for weight in kernel if weight] for kernel in blur_kernels(draws.sigma).tolist()]
    stages = map(_stages, draws.order.tolist(), factors_N4.tolist(), draws.grayscale.tolist())
    for image_CHW, view_CHW, changes, kernel in zip(images_NCHW, views_NCHW, stages, kernels, strict=True):
        _fill(view_CHW, image_CHW, changes, kernel, room)
    return views_NCHW


class _Room:
    """Memory that the samples use one after the other; new memory would cost more than the arithmetic."""

    def __init__(self, height: int, width: int) -> None:
        self.rows = _rows(height, width)
        self.height, self.width, self.dtype = height, width, torch.get_default_dtype()
        self.planes_5RW = torch.empty(5, self.rows, width)
        # Zeros, as taps run beyond the last row into what no sum uses, and strange bytes would be slow numbers.
        padded = 3 * self.rows * (width + 2 * BLUR_RADIUS) + 2 * BLUR_RADIUS
        self.padded_N = torch.zeros(padded)
        self.sums_N = torch.empty_like(self.padded_N)
        self._tall_N = torch.empty(3 * (height + 2 * BLUR_RADIUS) * width)

    def tall(self, radius: int) -> Tensor:
        """Return memory for an image with `radius` rows more at its top and its bottom."""
        rows = self.height + 2 * radius
        return self._tall_N[: 3 * rows * self.width].view(3, rows, self.width)


_kept = threading.local()


def _room(height: int, width: int) -> _Room:
    """Return the memory of this thread's last call where it fits: fresh pages cost up to a fifth of a view."""
    room: _Room | None = getattr(_kept, "room", None)
    wanted = (height, width, _rows(height, width), torch.get_default_dtype())
    if room is None or (room.height, room.width, room.rows, room.dtype) != wanted:
        room = _kept.room = _Room(height, width)
    return room


def _rows(height: int, width: int) -> int:
    return min(height, max(1, STRIP_PIXELS // width))


@dataclass(frozen=True)
class _Change:
    operation: int
    factor: float


def _stages(order: list[int], factors: list[float], is_gray: bool) -> list[list[_Change]]:
    """Return what changes an image, in its order, a new stage wherever the mean of the image is needed."""
    changes = [_Change(operation, factors[operation]) for operation in order]
    changes = [change for change in changes if change.factor != (0.0 if change.operation == HUE else 1.0)]
    if is_gray:
        changes.append(_Change(SATURATION, 0.0))
    stages: list[list[_Change]] = [[]]
    for change in changes:
        if change.operation == CONTRAST:
            stages.append([])
        stages[-1].append(change)
    return stages


def _fill(view_CHW: Tensor, image_CHW: Tensor, stages: list[list[_Change]], kernel: list[float], room: _Room) -> None:
    strips = [slice(first, first + room.rows) for first in range(0, view_CHW.shape[1], room.rows)]
    mean = 0.0
    for number, stage in enumerate(stages):
        total_C = torch.zeros(3, dtype=torch.float64)
        for rows in strips:
            strip_CRW = view_CHW[:, rows]
            if number == 0:
                _take(image_CHW[:, rows], strip_CRW)
            for change in stage:
                _apply(change, strip_CRW, mean, room.planes_5RW[:, : strip_CRW.shape[1]])
            if number < len(stages) - 1:
                total_C += strip_CRW.sum((1, 2))
            elif len(kernel) > 1:
                _blur_rows(strip_CRW, kernel, rows, room)
        mean = sum(weight * total for weight, total in zip(LUMA, total_C.tolist(), strict=True)) / view_CHW[0].numel()
    if len(kernel) > 1:
        _blur_columns(view_CHW, kernel, strips, room)


def _take(image_CRW: Tensor, strip_CRW: Tensor) -> None:
    strip_CRW.copy_(image_CRW)
    if image_CRW.dtype == torch.uint8:
        strip_CRW.div_(255)  # not times 1 / 255: the views of neutral draws have the bits of the weak view


def _apply(change: _Change, strip_CRW: Tensor, mean: float, planes_5RW: Tensor) -> None:
    """Change a strip in place: brightness, contrast and saturation blend it with black, the mean gray, its own gray."""
    factor, rest = change.factor, 1 - change.factor
    if change.operation == HUE:
        _shift_hue(strip_CRW, factor, planes_5RW)
        return
    if change.operation == BRIGHTNESS:
        strip_CRW.mul_(factor)
    elif change.operation == CONTRAST:
        strip_CRW.mul_(factor).add_(rest * mean)
    else:
        gray_RW = planes_5RW[0]
        torch.mv(strip_CRW.flatten(1).t(), torch.tensor(LUMA), out=gray_RW.view(-1))
        strip_CRW.mul_(factor).add_(gray_RW, alpha=rest)
    strip_CRW.clamp_(0, 1)


def _shift_hue(strip_CRW: Tensor, shift: float, planes_5RW: Tensor) -> None:
    """Turn the hue by `shift` sixths of a turn at constant value and saturation (HSV), without divisions and cases.

    Counted in sixths of a turn from red, the hue is `2 + (green + blue - red - max) / chroma`, negative where blue is
    above green. A channel whose own hue is `d` away has `max - chroma * clamp(2 - |3 - |d||, 0, 1)`, which is
    `min + chroma * clamp(|3 - |d|| - 1, 0, 1)`; here all is multiplied by the chroma. A third of a turn exchanges
    channels, so `|d|` never exceeds 6 and need not be brought back into a turn.
    """
    thirds = round(shift / 2)
    sixths = shift - 2 * thirds
    highest, lowest, chroma, hue, base = planes_5RW.unbind(0)
    red, green, blue = strip_CRW.unbind(0)
    torch.amax(strip_CRW, 0, out=highest)
    torch.amin(strip_CRW, 0, out=lowest)
    torch.sub(highest, lowest, out=chroma)
    torch.sub(green, blue, out=base)
    torch.add(green, blue, out=hue)
    hue.sub_(red).sub_(highest).add_(chroma, alpha=2)
    torch.copysign(hue, base, out=hue)
    hue.add_(chroma, alpha=sixths)
    torch.sub(lowest, chroma, out=base)

    away = [(0.0, -2.0, 2.0)[(channel - thirds) % 3] for channel in range(3)]
    away_C = torch.tensor(away)
    torch.addcmul(hue, chroma, away_C[:, None, None], out=strip_CRW)
    strip_CRW.abs_().sub_(chroma, alpha=3).abs_().add_(base)
    torch.clamp(strip_CRW, lowest, highest, out=strip_CRW)


def _blur_rows(strip_CRW: Tensor, kernel: list[float], rows: slice, room: _Room) -> None:
    """Blur along the rows of a strip into the room's tall image, the edge pixels repeated as in Pillow.

    The padded rows lie one behind the other, so each tap is one shifted run over all of them.
    """
    radius = len(kernel) // 2
    (channels, height, width), wide = strip_CRW.shape, strip_CRW.shape[2] + 2 * radius
    size = channels * height * wide
    padded_CRW = room.padded_N[:size].view(channels, height, wide)
    padded_CRW[..., :radius] = strip_CRW[..., :1]
    padded_CRW[..., radius:-radius] = strip_CRW
    padded_CRW[..., -radius:] = strip_CRW[..., -1:]
    sums_N = torch.mul(room.padded_N[:size], kernel[0], out=room.sums_N[:size])
    for tap, weight in enumerate(kernel[1:], 1):
        sums_N.add_(room.padded_N[tap : tap + size], alpha=weight)
    first = radius + rows.start
    room.tall(radius)[:, first : first + height] = sums_N.view(channels, height, wide)[..., :width]


def _blur_columns(view_CHW: Tensor, kernel: list[float], strips: list[slice], room: _Room) -> None:
    radius = len(kernel) // 2
    tall_CHW = room.tall(radius)
    tall_CHW[:, :radius] = tall_CHW[:, radius : radius + 1]
    tall_CHW[:, -radius:] = tall_CHW[:, -radius - 1 : -radius]
    for rows in strips:
        strip_CRW = view_CHW[:, rows]
        height = strip_CRW.shape[1]
        torch.mul(tall_CHW[:, rows.start : rows.start + height], kernel[0], out=strip_CRW)
        for tap, weight in enumerate(kernel[1:], 1):
            first = rows.start + tap
            strip_CRW.add_(tall_CHW[:, first : first + height], alpha=weight)
        strip_CRW.clamp_(0, 1)
