"""The parameters of photometric views: drawn on the CPU, in the worker that read the sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semiseg.augment.config import MAX_BLUR_SIGMA, StrongViewConfig

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

LUMA = (0.299, 0.587, 0.114)
"""Gray of red, green and blue (ITU-R BT.601)."""

BLUR_SIGMAS = 3.5
"""The blur kernel ends at this many standard deviations."""

BLUR_RADIUS = int(BLUR_SIGMAS * MAX_BLUR_SIGMA)
"""Largest half width of the blur kernel in pixels."""

NO_JITTER = (1.0, 1.0, 1.0, 0.0)
"""The factors that change nothing."""


@dataclass(frozen=True)
class PhotometricDraws:
    """The parameters of photometric views; `...` is () for one draw, (T,) for a sample's frames, (B, T) for a batch."""

    order: Tensor
    """(..., 4) int64: a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue; the first is applied first."""

    factors: Tensor
    """(..., 4) float32: the factors of brightness, contrast and saturation, the hue shift in turns."""

    grayscale: Tensor
    """(...) bool: whether the view is gray."""

    sigma: Tensor
    """(...) float32: the blur's standard deviation in pixels, 0 for none."""

    def map(self, function: Callable[[Tensor], Tensor]) -> PhotometricDraws:
        """Return the draws with `function` applied to each of their tensors."""
        return PhotometricDraws(
            function(self.order), function(self.factors), function(self.grayscale), function(self.sigma)
        )

    def __getitem__(self, index: slice | int) -> PhotometricDraws:
        """Return the draws at `index` of the first dimension."""
        return self.map(lambda tensor: tensor[index])

    @staticmethod
    def stack(draws: Sequence[PhotometricDraws]) -> PhotometricDraws:
        """Return the draws with a new first dimension: n draws of shape (...) become one of shape (n, ...)."""
        return PhotometricDraws(
            torch.stack([draw.order for draw in draws]),
            torch.stack([draw.factors for draw in draws]),
            torch.stack([draw.grayscale for draw in draws]),
            torch.stack([draw.sigma for draw in draws]),
        )


def draw_photometric(rng: np.random.Generator, config: StrongViewConfig) -> PhotometricDraws:
    """Draw the parameters of one photometric view, without leading dimensions.

    Everything is drawn whether or not it is used, so changing one probability leaves the other draws as they were.
    """
    order = rng.permutation(4)
    low = [max(0.0, 1 - spread) for spread in (config.brightness, config.contrast, config.saturation)]
    high = [1 + spread for spread in (config.brightness, config.contrast, config.saturation)]
    ranges = zip((*low, -config.hue, config.blur_sigma[0]), (*high, config.hue, config.blur_sigma[1]), strict=True)
    parts = rng.random(8).tolist()  # one call instead of eight
    *factors, sigma = (low + (high - low) * part for (low, high), part in zip(ranges, parts[:5], strict=True))
    jitters, is_gray, blurs = (
        part < p for part, p in zip(parts[5:], (config.jitter_p, config.grayscale_p, config.blur_p), strict=True)
    )
    values = torch.tensor((*(factors if jitters else NO_JITTER), sigma if blurs else 0.0), dtype=torch.float32)
    return PhotometricDraws(
        order=torch.from_numpy(order), factors=values[:4], grayscale=torch.tensor(is_gray), sigma=values[4]
    )


def blur_kernels(sigma_B: Tensor) -> Tensor:
    """Return the weights of the blurs, (B, 2 * BLUR_RADIUS + 1), zero beyond `BLUR_SIGMAS` of each."""
    sigma_B1 = sigma_B[:, None].clamp_min(1e-3)  # 0 becomes a kernel that is exactly 1 in its middle
    offset_K = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=sigma_B.device)
    kernel_BK = torch.exp(-0.5 * (offset_K / sigma_B1).square())
    kernel_BK = kernel_BK.masked_fill(offset_K.abs() > BLUR_SIGMAS * sigma_B1, 0.0)
    return kernel_BK / kernel_BK.sum(1, keepdim=True)
