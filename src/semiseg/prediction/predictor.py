"""A trained model that takes pictures and gives masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiseg.data.palette import Palette
from semiseg.engine import pictures
from semiseg.engine.distributed import choose_device
from semiseg.engine.inference import predict_probabilities, predict_scores
from semiseg.errors import ConfigError
from semiseg.models import ModelCard, Segmenter, load_model
from semiseg.prediction.frames import Picture, Raster, open_frames, read_piece
from semiseg.prediction.tiles import blend, spans

TILE = {"original": 1024, "sliding": 2048}
"""The longest side, in pixels, that is predicted in one piece, by protocol. A whole piece passes through a model of the
original protocol at once: at 1024 ViT-L with 150 classes holds 2.6 GB of tensors (measured), which a GPU of 8 GB and a
CPU have room for. In the sliding protocol only a window of the crop's size does, and 2048 leaves Cityscapes as it is
evaluated."""

_STRIP = 512
"""Rows that are tinted at once."""


class Predictor:
    """A segmenter in evaluation mode and the card that says what its classes are.

    Every method takes one picture, or for a model of T frames T pictures of one size: `mask(before, after)`. A picture
    with a side longer than `tile` (default: `TILE`) is predicted in tiles; see `semiseg.prediction.tiles`.

    Attributes:
        segmenter: the model, on its device, in evaluation mode, fp32.
        card: classes, colours, number of frames and how the model was evaluated.
        device: where the model runs.
    """

    def __init__(self, segmenter: Segmenter, card: ModelCard, device: str = "auto") -> None:
        self.device = choose_device(device)
        self.segmenter = segmenter.to(self.device).eval()
        self.card = card

    @classmethod
    def load(cls, path: Path | str, device: str = "auto") -> Predictor:
        """Load the model of a run.

        Args:
            path: the run directory, or the directory with `config.json` and `model.safetensors` in it.
            device: `auto` takes the GPU where there is one; else a name torch knows, such as `cpu` or `cuda:1`.

        Raises:
            ModelError: the directory holds no model, or its weights do not fit.
            ConfigError: no such device here.
        """
        segmenter, card = load_model(Path(path))
        return cls(segmenter, card, device)

    @torch.inference_mode()
    def scores(self, *frames: Picture, tile: int | None = None) -> Tensor:
        """Return the class scores (K, H, W), float32, on the model's device, at the size of the picture.

        They are logits, or summed probabilities in the sliding protocol, or blended probabilities of a picture in
        tiles; the largest is the prediction. Of a large picture `mask` needs far less memory.

        Raises:
            DataError: an unreadable picture, the wrong number of frames, or frames that differ in size or place.
            ConfigError: a tile smaller than a patch.
        """
        rasters = open_frames(frames, self.card.frames)
        scores_KHW = torch.empty(len(self.card.classes), *rasters[0].shape[:2], device=self.device)
        for rows, columns, block_Khw in self._blocks(rasters, self.tile(tile)):
            scores_KHW[:, rows, columns] = block_Khw
        return scores_KHW

    @torch.inference_mode()
    def mask(self, *frames: Picture, tile: int | None = None) -> NDArray[np.uint8]:
        """Return the class id of every pixel, (H, W) uint8; raises as `scores`."""
        rasters = open_frames(frames, self.card.frames)
        mask_HW = np.empty(rasters[0].shape[:2], dtype=np.uint8)
        for rows, columns, block_Khw in self._blocks(rasters, self.tile(tile)):
            mask_HW[rows, columns] = block_Khw.argmax(0).to(torch.uint8).cpu().numpy()
        return mask_HW

    def indexed(self, *frames: Picture, tile: int | None = None) -> Image.Image:
        """Return the mask as a palette image, ready to save as PNG: ids within, colours for the eye."""
        return pictures.indexed_image(self.mask(*frames, tile=tile), self.card.palette)

    def overlay(self, *frames: Picture, alpha: float = 0.5, tile: int | None = None) -> Image.Image:
        """Return the picture (of several frames the last) tinted with the colours of its mask; raises as `scores`."""
        rasters = open_frames(frames, self.card.frames)
        return tinted(rasters[-1], self.mask(*rasters, tile=tile), self.card.palette, alpha)

    def tile(self, asked: int | None = None) -> int:
        """Return the longest side that is predicted in one piece: as asked, else by the protocol.

        Raises:
            ConfigError: smaller than a patch.
        """
        side = TILE[self.card.protocol] if asked is None else asked
        if side < self.segmenter.patch:
            raise ConfigError(
                f"a tile of {side} pixels is smaller than a patch of the model",
                expected=f"at least {self.segmenter.patch}, better the training crop of {self.card.crop} or more",
                remedy="raise --tile, or leave it out",
            )
        return side

    def _blocks(self, rasters: tuple[Raster, ...], tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield the scores (K, h, w) of the picture, whole if it is small, else block by block, with their place."""
        height, width = rasters[0].shape[:2]
        if max(height, width) <= tile:
            whole = slice(0, height), slice(0, width)
            yield *whole, self._score(predict_scores, rasters, *whole)
            return
        score = partial(self._score, predict_probabilities, rasters)
        yield from blend(score, *(spans(side, tile, self.segmenter.patch) for side in (height, width)))

    def _score(
        self, predict: Callable[..., Tensor], rasters: tuple[Raster, ...], rows: slice, columns: slice
    ) -> Tensor:
        """Return the scores (K, h, w) of a piece, fp32."""
        piece_THW3 = torch.from_numpy(read_piece(rasters, rows, columns)).to(self.device)
        piece_BTCHW = self.segmenter.normalize(piece_THW3.movedim(-1, -3)[None])
        return predict(self.segmenter, piece_BTCHW, protocol=self.card.protocol, window=self.card.crop)[0].float()


def tinted(raster: Raster, mask_HW: NDArray[np.uint8], palette: Palette, alpha: float = 0.5) -> Image.Image:
    """Return a picture tinted with the colours of its mask, made in strips: a tint takes 24 bytes a pixel."""
    strips = [slice(top, top + _STRIP) for top in range(0, len(mask_HW), _STRIP)]
    parts = [pictures.overlay(raster[rows, :], mask_HW[rows], palette, alpha) for rows in strips]
    return Image.fromarray(np.concatenate(parts))


load = Predictor.load
