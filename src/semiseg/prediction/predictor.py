"""A trained model that takes pictures and gives masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiseg.data.palette import Palette
from semiseg.engine import pictures
from semiseg.engine.distributed import choose_device
from semiseg.engine.inference import Block, Inference, inference_of
from semiseg.engine.precision import Precision
from semiseg.models import ModelCard, Segmenter, load_model
from semiseg.prediction.frames import Picture, Raster, open_frames, read_piece

_STRIP = 512
"""Rows that are tinted at once."""


class Predictor:
    """A segmenter in evaluation mode and the card that says what its classes are.

    Every method takes one picture, or for a model of T frames T pictures of one size: `mask(before, after)`. A picture
    with a side longer than `tile` (default: as the model was evaluated) is predicted in tiles; see
    `semiseg.engine.inference`.

    Attributes:
        segmenter: the model, on its device, in evaluation mode; its weights are fp32.
        card: classes, colours, number of frames and how the model was evaluated.
        device: where the model runs.
        precision: what it computes in.
    """

    def __init__(
        self, segmenter: Segmenter, card: ModelCard, device: str = "auto", precision: Precision = "auto"
    ) -> None:
        self.device = choose_device(device)
        self.segmenter = segmenter.to(self.device).eval()
        self.card = card
        self.precision = precision

    @classmethod
    def load(cls, path: Path | str, device: str = "auto", precision: Precision = "auto") -> Predictor:
        """Load the model of a run.

        Args:
            path: the run directory, or the directory with `config.json` and `model.safetensors` in it.
            device: `auto` takes the GPU where there is one; else a name torch knows, such as `cpu` or `cuda:1`.
            precision: `fp32`, `bf16`, or `auto`: as the model was trained and evaluated.

        Raises:
            ModelError: the directory holds no model, or its weights do not fit.
            ConfigError: no such device here.
        """
        segmenter, card = load_model(Path(path))
        return cls(segmenter, card, device, precision)

    @torch.inference_mode()
    def scores(self, *frames: Picture, tile: int | None = None) -> Tensor:
        """Return the class scores (K, H, W), float32, on the model's device, at the size of the picture.

        They are logits, or summed probabilities in the sliding protocol, or blended probabilities of a picture in
        tiles; the largest is the prediction. Of a large picture `mask` needs far less memory.

        Raises:
            DataError: an unreadable picture, the wrong number of frames, or frames that differ in size or place.
            ConfigError: a tile smaller than a patch.
        """
        rasters, inference = open_frames(frames, self.card.frames), self.inference(tile)
        scores_KHW = torch.empty(len(self.card.classes), *rasters[0].shape[:2], device=self.device)
        for block in self._blocks(rasters, inference):
            scores_KHW[:, block.rows, block.columns] = block.scores_BKHW[0]
        return scores_KHW

    @torch.inference_mode()
    def mask(self, *frames: Picture, tile: int | None = None) -> NDArray[np.uint8]:
        """Return the class id of every pixel, (H, W) uint8; raises as `scores`."""
        rasters, inference = open_frames(frames, self.card.frames), self.inference(tile)
        mask_HW = np.empty(rasters[0].shape[:2], dtype=np.uint8)
        for block in self._blocks(rasters, inference):
            mask_HW[block.rows, block.columns] = block.scores_BKHW[0].argmax(0).to(torch.uint8).cpu().numpy()
        return mask_HW

    def indexed(self, *frames: Picture, tile: int | None = None) -> Image.Image:
        """Return the mask as a palette image, ready to save as PNG: ids within, colours for the eye."""
        return pictures.indexed_image(self.mask(*frames, tile=tile), self.card.palette)

    def overlay(self, *frames: Picture, alpha: float = 0.5, tile: int | None = None) -> Image.Image:
        """Return the picture (of several frames the last) tinted with the colours of its mask; raises as `scores`."""
        rasters = open_frames(frames, self.card.frames)
        return tinted(rasters[-1], self.mask(*rasters, tile=tile), self.card.palette, alpha)

    def inference(self, tile: int | None = None) -> Inference:
        """Return how pictures are shown to the model: as in its evaluation, or in tiles of another size.

        Raises:
            ConfigError: a tile smaller than a patch.
        """
        return inference_of(self.card, self.segmenter.patch, device=self.device, precision=self.precision, tile=tile)

    def _blocks(self, rasters: tuple[Raster, ...], inference: Inference) -> Iterator[Block]:
        """Score the picture piece by piece, each piece read when it is needed."""

        def read(rows: slice, columns: slice) -> Tensor:
            piece_THW3 = torch.from_numpy(read_piece(rasters, rows, columns)).to(self.device)
            return piece_THW3.movedim(-1, -3)[None]

        return inference.blocks(self.segmenter, read, *rasters[0].shape[:2])


def tinted(raster: Raster, mask_HW: NDArray[np.uint8], palette: Palette, alpha: float = 0.5) -> Image.Image:
    """Return a picture tinted with the colours of its mask, made in strips: a tint takes 24 bytes a pixel."""
    strips = [slice(top, top + _STRIP) for top in range(0, len(mask_HW), _STRIP)]
    parts = [pictures.overlay(raster[rows, :], mask_HW[rows], palette, alpha) for rows in strips]
    return Image.fromarray(np.concatenate(parts))


load = Predictor.load
