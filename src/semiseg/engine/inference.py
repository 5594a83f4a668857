"""From a picture to the scores of its pixels: the one rule of evaluation, of its pictures and of prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from typing import Protocol as Interface

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.engine.config import Precision
from semiseg.engine.precision import autocast, full_fp32, uses_bf16
from semiseg.engine.tiles import ON_DEVICE, blend, spans
from semiseg.errors import ConfigError
from semiseg.models import ModelCard
from semiseg.models.layers import resize_bilinear

Protocol = Literal["original", "sliding"]

TILE: dict[Protocol, int] = {"original": 1024, "sliding": 2048}
"""The longest side, in pixels, that is seen in one piece, by protocol. A whole piece passes through a model of the
original protocol at once: at 1024 ViT-L with 150 classes holds 2.6 GB of tensors (measured), which a GPU of 8 GB and a
CPU have room for. In the sliding protocol only a window of the crop's size does, and 2048 leaves Cityscapes as it is
published."""

SCALES = (0.25, 4.0)
"""The smallest and the largest scale at which a picture may be seen."""

_WINDOWS_AT_ONCE = 8
"""Windows that pass the model at once, of all images of a batch."""


class Scorer(Interface):
    """What is asked of a model: a segmenter has it, and what stands in its place."""

    patch: int
    num_classes: int

    def normalize(self, images_BTCHW: Tensor) -> Tensor:
        """Bring uint8 images to the scale of the model."""

    def __call__(self, images_BTCHW: Tensor, /) -> Any:
        """Return the logits (B, K, H, W)."""


@dataclass(frozen=True)
class Block:
    """The scores of a piece of some pictures of one size.

    Attributes:
        rows: where the piece lies in the pictures.
        columns: where the piece lies in the pictures.
        scores_BKHW: fp32; the largest of a pixel is its class.
        are_logits: else the scores are probabilities but for a factor of the pixel.
    """

    rows: slice
    columns: slice
    scores_BKHW: Tensor
    are_logits: bool

    def probabilities(self) -> Tensor:
        """Return the probabilities of the classes (B, K, h, w), fp32; those of a pixel sum to one."""
        if self.are_logits:
            return self.scores_BKHW.softmax(dim=1)
        return self.scores_BKHW / self.scores_BKHW.sum(dim=1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How pictures are shown to a model.

    The size of a picture alone decides, so that a figure is that of the masks, on any machine: one with no side longer
    than `tile` is seen in one piece, whole or in windows as the protocol says; a larger one in overlapping tiles, each
    by the protocol, whose probabilities are blended.

    With more than one scale, or with flips, each piece is seen several times, and the mean of the probabilities counts
    (test-time augmentation: multi-scale inputs and flips of arXiv 1706.05587).

    Attributes:
        protocol: see `predict_scores`.
        window: side of a sliding window, pixels.
        tile: the longest side that is seen in one piece, pixels; at a scale s this piece has s times the side.
        bf16: whether models run in bf16.
        scales: the sizes at which each piece is seen, as factors of its own.
        flip: whether each is seen mirrored too, left and right exchanged.
    """

    protocol: Protocol
    window: int
    tile: int
    bf16: bool
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def in_tiles(self, height: int, width: int) -> bool:
        """Whether a picture of this size is seen in tiles."""
        return max(height, width) > self.tile

    def blocks(self, model: Scorer, read: Callable[[slice, slice], Tensor], height: int, width: int) -> Iterator[Block]:
        """Score pictures of one size, piece by piece; the blocks cover every pixel once.

        Args:
            model: a segmenter in evaluation mode.
            read: gives a piece of the pictures from its rows and columns: (B, T, 3, h, w), uint8, where the
                model is.
            height: of the pictures.
            width: of the pictures.
        """
        whole = slice(0, height), slice(0, width)
        if not self.in_tiles(height, width):
            yield self._block(model, read, *whole)
            return

        def score(rows: slice, columns: slice) -> Tensor:
            return self._block(model, read, rows, columns).probabilities()

        for rows, columns, scores_BKhw in blend(
            score, *(spans(side, self.tile, model.patch) for side in (height, width))
        ):
            yield Block(rows, columns, scores_BKhw, are_logits=False)

    @full_fp32()
    def _block(self, model: Scorer, read: Callable[[slice, slice], Tensor], rows: slice, columns: slice) -> Block:
        """Score a piece by the protocol, as a picture of its size."""
        pieces_BTCHW = read(rows, columns)
        with autocast(self.bf16, pieces_BTCHW.device):
            images_BTCHW = model.normalize(pieces_BTCHW)
            if self.flip or self.scales != (1.0,):
                return Block(rows, columns, self._mean_of_views(model, images_BTCHW), are_logits=False)
            scores_BKHW = predict_scores(model, images_BTCHW, protocol=self.protocol, window=self.window)
        return Block(rows, columns, scores_BKHW, are_logits=not _slides(images_BTCHW, self.protocol, self.window))

    def _mean_of_views(self, model: Scorer, images_BTCHW: Tensor) -> Tensor:
        """Return the probabilities of a piece (B, K, H, W), the mean over scales and flips."""
        size: tuple[int, int] = (images_BTCHW.shape[-2], images_BTCHW.shape[-1])
        keeper = _keeper(model, images_BTCHW)
        sum_BKHW = torch.zeros(len(images_BTCHW), model.num_classes, *size, device=keeper)
        for scale in self.scales:
            view_BTCHW = _scaled(images_BTCHW, scale)
            found_BKhw = self._probabilities(model, view_BTCHW)
            if self.flip:
                found_BKhw = found_BKhw + self._probabilities(model, view_BTCHW.flip(-1)).flip(-1)
            sum_BKHW += resize_bilinear(found_BKhw, size, align_corners=False).to(keeper)
        return sum_BKHW / (len(self.scales) * (2 if self.flip else 1))

    def _probabilities(self, model: Scorer, images_BTCHW: Tensor) -> Tensor:
        scores_BKHW = predict_scores(model, images_BTCHW, protocol=self.protocol, window=self.window)
        are_logits = not _slides(images_BTCHW, self.protocol, self.window)
        return Block(slice(None), slice(None), scores_BKHW, are_logits).probabilities()


def inference_of(
    card: ModelCard,
    patch: int,
    *,
    device: torch.device,
    precision: Precision = "auto",
    protocol: Protocol | None = None,
    tile: int | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> Inference:
    """Return how a model sees pictures: as asked, else as its card says it was evaluated, else by its protocol.

    Args:
        card: what the model says about itself.
        patch: the model's patch, pixels.
        device: where it runs.
        precision: `auto` is the card's; if that is `auto` too, see `uses_bf16`.
        protocol: another protocol than the card's.
        tile: another longest side of one piece than the card's.
        scales: the sizes at which each piece is seen, as factors of its own.
        flip: whether each is seen mirrored too.

    Raises:
        ConfigError: a tile smaller than a patch, no scale, or one out of range.
    """
    protocol = protocol or card.protocol
    side = tile if tile is not None else card.tile or TILE[protocol]
    if side < patch:
        raise ConfigError(
            f"a tile of {side} pixels is smaller than a patch of the model",
            expected=f"at least {patch}, better the training crop of {card.crop} or more",
            remedy="raise the tile, or leave it out",
        )
    if not scales or any(not SCALES[0] <= scale <= SCALES[1] for scale in scales):
        raise ConfigError(
            f"scales of {', '.join(f'{scale:g}' for scale in scales) or 'no number'}",
            expected=f"one or more factors from {SCALES[0]:g} to {SCALES[1]:g}",
            remedy="name scales such as 0.75 1 1.25, or leave them out",
        )
    bf16 = uses_bf16(card.precision if precision == "auto" else precision, device)
    return Inference(
        protocol=protocol, window=card.crop, tile=side, bf16=bf16, scales=tuple(map(float, scales)), flip=flip
    )


def predict_scores(model: Scorer, images_BTCHW: Tensor, *, protocol: Protocol, window: int) -> Tensor:
    """Score every pixel of images in one piece.

    Args:
        model: a segmenter in eval mode.
        images_BTCHW: normalised images of one size.
        protocol: `original` resizes to the nearest multiple of the patch and the logits back (Pascal, ADE20K, COCO);
            `sliding` sums the softmax of overlapping windows (Cityscapes). An image smaller than a window is treated
            as `original`.
        window: side of a window, pixels, a multiple of the patch.

    Returns:
        scores_BKHW: logits, or for `sliding` summed probabilities; fp32; the largest is the prediction. Sums that take
        more than `ON_DEVICE` are in main memory.
    """
    if _slides(images_BTCHW, protocol, window):
        return _sliding(model, images_BTCHW, window)
    return _original(model, images_BTCHW)


def _slides(images_BTCHW: Tensor, protocol: Protocol, window: int) -> bool:
    return protocol == "sliding" and min(images_BTCHW.shape[-2:]) >= window


def _original(model: Scorer, images_BTCHW: Tensor) -> Tensor:
    height, width = images_BTCHW.shape[-2:]
    rows, columns = (max(1, int(side / model.patch + 0.5)) * model.patch for side in (height, width))
    resized_NCHW = resize_bilinear(images_BTCHW.flatten(0, 1), (rows, columns))
    logits_BKHW: Tensor = model(resized_NCHW.unflatten(0, images_BTCHW.shape[:2])).float()
    return resize_bilinear(logits_BKHW, (height, width))


def window_starts(side: int, window: int) -> list[int]:
    """Return where windows start along a side: every int(2/3 window), the last one flush with the border."""
    return [*range(0, side - window, int(window * 2 / 3)), side - window]


def _sliding(model: Scorer, images_BTCHW: Tensor, window: int) -> Tensor:
    batch, (height, width) = len(images_BTCHW), images_BTCHW.shape[-2:]
    corners = [(y, x) for y in window_starts(height, window) for x in window_starts(width, window)]
    keeper = _keeper(model, images_BTCHW)
    scores_BKHW = torch.zeros(batch, model.num_classes, height, width, device=keeper)
    at_once = max(1, _WINDOWS_AT_ONCE // batch)
    for first in range(0, len(corners), at_once):
        part = corners[first : first + at_once]
        windows = torch.cat([images_BTCHW[..., y : y + window, x : x + window] for y, x in part])
        probabilities = model(windows).float().softmax(dim=1).to(keeper)
        for (y, x), found in zip(part, probabilities.split(batch), strict=True):
            scores_BKHW[..., y : y + window, x : x + window] += found
    return scores_BKHW


def _keeper(model: Scorer, images_BTCHW: Tensor) -> torch.device:
    """Return where sums of scores are kept: where the images are, or in main memory what is larger than `ON_DEVICE`."""
    batch, (height, width) = len(images_BTCHW), images_BTCHW.shape[-2:]
    large = 4 * batch * model.num_classes * height * width > ON_DEVICE
    return torch.device("cpu") if large else images_BTCHW.device


def _scaled(images_BTCHW: Tensor, scale: float) -> Tensor:
    """Resize images by a factor, smoothed where they shrink, as training resizes its images."""
    if scale == 1:
        return images_BTCHW
    size = [max(1, round(side * scale)) for side in images_BTCHW.shape[-2:]]
    resized_NCHW: Tensor = F.interpolate(images_BTCHW.flatten(0, 1), size=size, mode="bilinear", antialias=True)
    resized_BTCHW: Tensor = resized_NCHW.unflatten(0, images_BTCHW.shape[:2])
    return resized_BTCHW
