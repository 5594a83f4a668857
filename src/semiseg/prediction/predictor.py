"""A trained model that takes pictures and gives masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiseg.data.bands import Shown
from semiseg.data.reading import MAX_PIXELS
from semiseg.engine.config import Precision
from semiseg.engine.distributed import choose_device
from semiseg.engine.inference import Block, Inference, inference_of
from semiseg.engine.resizing import resized
from semiseg.models import ModelCard, Segmenter, load_model
from semiseg.prediction.frames import Frames, Picture, open_frames, read_piece, shown_to
from semiseg.prediction.result import Prediction


class Look(TypedDict, total=False):
    """How a picture is shown to the model, where not as in its evaluation."""

    tile: int | None
    """Longest side that is seen in one piece, pixels; None: as the model was evaluated."""
    scales: Sequence[float]
    """Sizes at which each piece is seen, as factors; the mean of the probabilities counts. Default: 1 alone."""
    flip: bool
    """Whether each is seen mirrored too."""


class Predictor:
    """A segmenter in evaluation mode and the card that says what its classes are.

    `predict` takes one sample or many. The other methods take one picture, or for a model of T frames T pictures of one
    size: `mask(before, after)`. A picture with a side longer than `tile` is predicted in tiles; see
    `semiseg.engine.inference`, and `Look` for the options of every method. One that is longer than the `long_side` that
    the model was trained with is seen reduced to it, and predicted in its own size all the same.

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

    @overload
    def predict(self, samples: list[Any], *, probabilities: bool = False, **look: Unpack[Look]) -> list[Prediction]: ...

    @overload
    def predict(
        self, samples: Any, *, probabilities: bool = False, **look: Unpack[Look]
    ) -> Prediction | list[Prediction]: ...

    def predict(
        self, samples: Any, *, probabilities: bool = False, **look: Unpack[Look]
    ) -> Prediction | list[Prediction]:
        """Predict one sample or many.

        Args:
            samples: a sample is a picture, for a model of two frames a tuple of two: a path, a Pillow image, an array
                (H, W, 3) of uint8, or a tensor (3, H, W) of uint8 or of floats from 0 to 1. Many are a list of
                samples, or a batch: an array or a tensor with one dimension more (of pairs: (B, 2, ...)).
            probabilities: keep the probability of each class in each pixel, K x H x W x 4 bytes.
            **look: see `Look`.

        Returns:
            For one sample its prediction; for a list or a batch a list of them, in its order.

        Raises:
            DataError: an unreadable picture, the wrong number of frames, or frames that differ in size or place.
            ConfigError: a tile smaller than a patch, or a scale out of range.
        """
        found, is_one = _samples(samples, self.card.frames)
        predictions = [self.predict_one(*frames, probabilities=probabilities, **look) for frames in found]
        return predictions[0] if is_one else predictions

    @property
    def shown(self) -> Shown:
        """How images are shown to the model."""
        return shown_to(self.card)

    def open(self, pictures: Sequence[Picture], max_pixels: int = MAX_PIXELS) -> Frames:
        """Read the pictures of one sample as the model sees them; see `open_frames`."""
        return open_frames(pictures, self.card.frames, max_pixels, self.shown)

    def predict_one(self, *frames: Picture, probabilities: bool = False, **look: Unpack[Look]) -> Prediction:
        """Predict one sample; arguments and errors are those of `predict`."""
        return self.predict_frames(self.open(frames), probabilities=probabilities, **look)

    @torch.inference_mode()
    def predict_frames(
        self, frames: Frames, *, probabilities: bool = False, confidence: bool = False, **look: Unpack[Look]
    ) -> Prediction:
        """Predict one sample that was opened; arguments and errors are those of `predict`.

        With `confidence` the prediction holds the probability of the class of each pixel, without those of the others.
        """
        inference, size = self.inference(**look), frames.size
        mask_HW = np.empty(size, dtype=np.uint8)
        kept_KHW = np.empty((len(self.card.classes), *size), dtype=np.float32) if probabilities else None
        sure_HW = np.empty(size, dtype=np.float32) if confidence else None
        for block in self.blocks(frames, inference):
            mask_HW[block.rows, block.columns] = _classes(block)
            if kept_KHW is not None:
                kept_KHW[:, block.rows, block.columns] = block.probabilities()[0].cpu().numpy()
            if sure_HW is not None:
                sure_HW[block.rows, block.columns] = block.probabilities()[0].amax(dim=0).cpu().numpy()
        return Prediction(frames.pictures[-1], mask_HW, kept_KHW, self.card.classes, self.card.palette, sure_HW)

    @torch.inference_mode()
    def scores(self, *frames: Picture, **look: Unpack[Look]) -> Tensor:
        """Return the class scores (K, H, W), float32, on the model's device, at the size of the picture.

        They are logits, or summed probabilities in the sliding protocol, or blended probabilities of a picture in
        tiles, at several scales or flipped; the largest is the prediction. Of a large picture `mask` needs far less
        memory.

        Raises:
            DataError: an unreadable picture, the wrong number of frames, or frames that differ in size or place.
            ConfigError: a tile smaller than a patch, or a scale out of range.
        """
        opened, inference = self.open(frames), self.inference(**look)
        scores_KHW = torch.empty(len(self.card.classes), *opened.size, device=self.device)
        for block in self.blocks(opened, inference):
            scores_KHW[:, block.rows, block.columns] = block.scores_BKHW[0]
        return scores_KHW

    def mask(self, *frames: Picture, **look: Unpack[Look]) -> NDArray[np.uint8]:
        """Return the class id of every pixel, (H, W) uint8; raises as `scores`."""
        return self.predict_one(*frames, **look).mask_HW

    def indexed(self, *frames: Picture, **look: Unpack[Look]) -> Image.Image:
        """Return the mask as a palette image, ready to save as PNG: ids within, colours for the eye."""
        return self.predict_one(*frames, **look).indexed()

    def overlay(self, *frames: Picture, alpha: float = 0.5, **look: Unpack[Look]) -> Image.Image:
        """Return the picture (of several frames the last) tinted with the colours of its mask; raises as `scores`."""
        return self.predict_one(*frames, **look).overlay(alpha)

    def inference(self, tile: int | None = None, scales: Sequence[float] = (1.0,), flip: bool = False) -> Inference:
        """Return how pictures are shown to the model: as in its evaluation, or otherwise; see `Look`.

        Raises:
            ConfigError: a tile smaller than a patch, or a scale out of range.
        """
        return inference_of(
            self.card,
            self.segmenter.patch,
            device=self.device,
            precision=self.precision,
            tile=tile,
            scales=scales,
            flip=flip,
        )

    def blocks(self, frames: Frames, inference: Inference) -> Iterator[Block]:
        """Score the picture piece by piece, each piece read when it is needed.

        Args:
            frames: from `open`; its `size` is that of the scores.
            inference: from `inference`.
        """

        def read(rows: slice, columns: slice) -> Tensor:
            piece_THW3 = torch.from_numpy(read_piece(frames.seen, rows, columns)).to(self.device)
            return piece_THW3.movedim(-1, -3)[None]

        found = inference.blocks(self.segmenter, read, *frames.seen_size)
        return found if frames.size == frames.seen_size else resized(found, frames.seen_size, frames.size)


def _classes(block: Block) -> NDArray[np.uint8]:
    mask_HW: NDArray[np.uint8] = block.scores_BKHW[0].argmax(0).to(torch.uint8).cpu().numpy()
    return mask_HW


def _samples(samples: Any, frames: int) -> tuple[list[tuple[Picture, ...]], bool]:
    """Return the frames of each sample, and whether one sample was given, not a list or a batch."""
    extra = int(frames > 1)
    if isinstance(samples, np.ndarray | Tensor):
        is_one = samples.ndim == 3 + extra
        many = [samples] if is_one or samples.ndim != 4 + extra else list(samples)
    else:
        is_one = not isinstance(samples, list)
        many = [samples] if is_one else samples
    return [tuple(sample) if _holds_frames(sample, extra) else (sample,) for sample in many], is_one


def _holds_frames(sample: Any, extra: int) -> bool:
    return isinstance(sample, tuple | list) or (
        isinstance(sample, np.ndarray | Tensor) and sample.ndim == 3 + extra > 3
    )


load = Predictor.load
