"""A trained model that takes pictures and gives masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiseg.data.reading import read_image
from semiseg.engine.distributed import choose_device
from semiseg.engine.inference import predict_scores
from semiseg.engine.pictures import indexed_image, overlay
from semiseg.errors import DataError
from semiseg.models import ModelCard, Segmenter, load_model

Picture = Image.Image | NDArray[np.uint8] | Path | str
"""An image as people have it: a Pillow image, an RGB array (H, W, 3) of uint8, or a path."""


class Predictor:
    """A segmenter in evaluation mode and the card that says what its classes are.

    Every method takes one picture, or for a model of T frames a tuple of T pictures of one size.

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
    def scores(self, frames: Picture | tuple[Picture, ...]) -> Tensor:
        """Return the class scores (K, H, W), float32, on the model's device, at the size of the picture.

        Raises:
            DataError: an unreadable picture, the wrong number of frames, or frames of different sizes.
        """
        images_THW3 = self._frames(frames)
        images_BTCHW = torch.from_numpy(images_THW3).to(self.device).movedim(-1, -3)[None]
        normalised_BTCHW = self.segmenter.normalize(images_BTCHW)
        scores_BKHW = predict_scores(
            self.segmenter, normalised_BTCHW, protocol=self.card.protocol, window=self.card.crop
        )
        return scores_BKHW[0].float()

    def mask(self, frames: Picture | tuple[Picture, ...]) -> NDArray[np.uint8]:
        """Return the class id of every pixel, (H, W) uint8; raises as `scores`."""
        mask_HW: NDArray[np.uint8] = self.scores(frames).argmax(0).to(torch.uint8).cpu().numpy()
        return mask_HW

    def indexed(self, frames: Picture | tuple[Picture, ...]) -> Image.Image:
        """Return the mask as a palette image, ready to save as PNG: ids within, colours for the eye."""
        return indexed_image(self.mask(frames), self.card.palette)

    def overlay(self, frames: Picture | tuple[Picture, ...], alpha: float = 0.5) -> Image.Image:
        """Return the picture (of several frames the last) tinted with the colours of its mask; raises as `scores`."""
        images_THW3 = self._frames(frames)
        mask_HW = self.mask(tuple(images_THW3))
        return Image.fromarray(overlay(images_THW3[-1], mask_HW, self.card.palette, alpha))

    def _frames(self, frames: Picture | tuple[Picture, ...]) -> NDArray[np.uint8]:
        """Return the frames as one array (T, H, W, 3)."""
        arrays = [_rgb(frame) for frame in (frames if isinstance(frames, tuple) else (frames,))]
        if len(arrays) != self.card.frames:
            raise DataError(
                f"{len(arrays)} pictures for a model of {self.card.frames} frames",
                remedy=f"pass {'one picture' if self.card.frames == 1 else f'a tuple of {self.card.frames} pictures'}",
            )
        if len({array.shape for array in arrays}) > 1:
            sizes = ", ".join(f"{array.shape[1]} x {array.shape[0]}" for array in arrays)
            raise DataError(f"frames of different sizes: {sizes}", remedy="align and crop them to one size")
        return np.stack(arrays)


def _rgb(picture: Picture) -> NDArray[np.uint8]:
    if isinstance(picture, Path | str):
        picture = read_image(Path(picture))
    if isinstance(picture, Image.Image):
        return np.array(picture.convert("RGB"))
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise DataError(
            f"array of shape {picture.shape} and type {picture.dtype}",
            expected="an RGB picture (H, W, 3) of uint8, 0 to 255",
            remedy="convert the array, or pass a Pillow image or a path",
        )
    return picture


load = Predictor.load
