"""Colour jitter, grayscale and blur, each sample with its own parameters and its own order, applied to a whole batch.

The parameters are drawn on the CPU, in the worker that read the sample; the pixels change on the device. There nothing
is ever read back to the host: a sample that does not take part in an operation passes through it unchanged.

Three facts make the random order cheap. Brightness, contrast and saturation are one operation, a blend of the image
with black, with its mean gray or with its own gray. A blend with factor 1 changes nothing. And hue, the costly one,
comes once: so any order of the four is *blends, hue, blends*, where each blend acts on one side and rests on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.augment.config import MAX_BLUR_SIGMA, StrongViewConfig

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

BLUR_SIGMAS = 3.5
"""The blur kernel ends at this many standard deviations."""

BLUR_RADIUS = int(BLUR_SIGMAS * MAX_BLUR_SIGMA)
"""Half width of the blur kernel in pixels, the same for every sigma: a width that follows sigma would need the host."""

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
    spreads = (config.brightness, config.contrast, config.saturation)
    factors = [rng.uniform(max(0.0, 1 - spread), 1 + spread) for spread in spreads]
    factors.append(rng.uniform(-config.hue, config.hue))
    sigma = rng.uniform(*config.blur_sigma)
    jitters, is_gray, blurs = rng.random(3) < (config.jitter_p, config.grayscale_p, config.blur_p)
    return PhotometricDraws(
        order=torch.from_numpy(order.astype(np.int64)),
        factors=torch.tensor(factors if jitters else NO_JITTER, dtype=torch.float32),
        grayscale=torch.tensor(bool(is_gray)),
        sigma=torch.tensor(sigma if blurs else 0.0, dtype=torch.float32),
    )


@torch.no_grad()
def apply_photometric(images: Tensor, draws: PhotometricDraws) -> Tensor:
    """Make photometric views: jitter in each sample's order, then grayscale, then blur.

    Follows the 8-bit operations of torchvision on Pillow images that the published systems use, in float32 and without
    their rounding, also under autocast. On an accelerator it never waits for the device.

    Args:
        images: (..., 3, H, W) float, RGB in [0, 1]; leading dimensions as in `draws`, for example (B,) or (B, T).
        draws: the parameters, on the images' device.

    Returns:
        The views, (..., 3, H, W) float32 in [0, 1], contiguous.
    """
    leading = images.shape[:-3]
    views_BCHW = images.float().reshape(-1, *images.shape[-3:]).contiguous()
    flat = draws.map(lambda tensor: tensor.reshape(-1, *tensor.shape[len(leading) :]))
    if images.device.type == "cpu":  # one by one, so that each sample pays only for the operations it takes part in
        views_BCHW = torch.cat([_view(views_BCHW[i : i + 1], flat[i : i + 1]) for i in range(len(views_BCHW))])
    else:
        views_BCHW = _view(views_BCHW, flat)
    return views_BCHW.reshape(*leading, *images.shape[-3:])


def _view(images_BCHW: Tensor, draws: PhotometricDraws) -> Tensor:
    factors_B4 = draws.factors.gather(1, draws.order)  # by position, no longer by operation
    hues_so_far_B4 = (draws.order == HUE).cumsum(1)
    before_B4 = torch.where(hues_so_far_B4 == 0, factors_B4, 1.0)
    after_B4 = torch.where((hues_so_far_B4 == 1) & (draws.order != HUE), factors_B4, 1.0)

    for position in (0, 1, 2):
        images_BCHW = _blend(images_BCHW, before_B4[:, position], draws.order[:, position])
    images_BCHW = _shift_hue(images_BCHW, draws.factors[:, HUE])
    for position in (1, 2, 3):
        images_BCHW = _blend(images_BCHW, after_B4[:, position], draws.order[:, position])

    grayscale_B = torch.where(draws.grayscale, 0.0, 1.0)
    images_BCHW = _blend(images_BCHW, grayscale_B, torch.full_like(draws.order[:, 0], SATURATION))
    return _blur(images_BCHW, draws.sigma)


def _idle(rests_B: Tensor) -> bool:
    """Whether an operation can be skipped: only the CPU may ask, an accelerator would have to drain its queue."""
    return rests_B.device.type == "cpu" and bool(rests_B.all())


def _blend(images_BCHW: Tensor, factor_B: Tensor, operation_B: Tensor) -> Tensor:
    """Return factor * image + (1 - factor) * (black, mean gray or gray, as the operation has it), clamped to [0, 1]."""
    if _idle(factor_B == 1):
        return images_BCHW
    gray_B1HW = _gray(images_BCHW)
    mean_B = gray_B1HW.mean((1, 2, 3))
    rest_B = 1 - factor_B
    of_gray_B = rest_B * (operation_B == SATURATION)
    of_mean_B = rest_B * (operation_B == CONTRAST) * mean_B
    target_B1HW = gray_B1HW.mul_(_per_sample(of_gray_B)).add_(_per_sample(of_mean_B))
    return torch.addcmul(target_B1HW, images_BCHW, _per_sample(factor_B)).clamp_(0, 1)


def _gray(images_BCHW: Tensor) -> Tensor:
    """Return the luma of ITU-R BT.601, (B, 1, H, W)."""
    red, green, blue = images_BCHW.unbind(1)
    gray_BHW = (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    return gray_BHW[:, None]


def _shift_hue(images_BCHW: Tensor, shift_B: Tensor) -> Tensor:
    """Turn the hue by `shift_B` turns at constant value and saturation (HSV).

    With the new hue in sixths of a turn, red = max - chroma * clamp(2 - |hue - 3|, 0, 1) and likewise green and blue:
    the round trip through HSV without its case distinctions on the way back.
    """
    if _idle(shift_B == 0):
        return images_BCHW
    red, green, blue = images_BCHW.unbind(1)
    top = torch.maximum(torch.maximum(red, green), blue)
    chroma = top - torch.minimum(torch.minimum(red, green), blue)
    from_red = green - blue  # the hue times the chroma, counted from red
    from_green = (blue - red).add_(chroma, alpha=2)
    from_blue = (red - green).add_(chroma, alpha=4)
    hue = torch.where(top == red, from_red, torch.where(top == green, from_green, from_blue))
    hue = hue.div_(chroma.clamp_min(1e-8)).add_(6 * shift_B[:, None, None]).remainder_(6)

    missing_red = (hue - 3).abs_().neg_().add_(2).clamp_(0, 1)
    missing_green = (hue - 2).abs_().sub_(1).clamp_(0, 1)
    missing_blue = (hue - 4).abs_().sub_(1).clamp_(0, 1)
    missing = torch.stack((missing_red, missing_green, missing_blue), dim=1)
    return torch.addcmul(top[:, None], chroma[:, None], missing, value=-1)


def _blur(images_BCHW: Tensor, sigma_B: Tensor) -> Tensor:
    """Blur with a separable Gaussian, the edge pixels repeated outwards as in Pillow, which has three box filters."""
    if _idle(sigma_B == 0):
        return images_BCHW
    sigma_B1 = sigma_B[:, None].clamp_min(1e-3)  # 0 becomes a kernel that is exactly 1 in its middle
    offset_K = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=sigma_B.device)
    kernel_BK = torch.exp(-0.5 * (offset_K / sigma_B1).square())
    kernel_BK = torch.where(offset_K.abs() <= BLUR_SIGMAS * sigma_B1, kernel_BK, 0.0)
    kernel_BK = kernel_BK / kernel_BK.sum(1, keepdim=True)
    return _convolve(_convolve(images_BCHW, kernel_BK, dim=3), kernel_BK, dim=2).clamp_(0, 1)


def _convolve(images_BCHW: Tensor, kernel_BK: Tensor, dim: int) -> Tensor:
    """Convolve along rows (dim 3) or columns (dim 2), tap by tap: on a CPU ten times a depthwise conv's speed."""
    side = (BLUR_RADIUS, BLUR_RADIUS)
    padded = F.pad(images_BCHW, (*side, 0, 0) if dim == 3 else (0, 0, *side), mode="replicate")
    result = torch.zeros_like(images_BCHW)
    for tap, weight_B in enumerate(kernel_BK.unbind(1)):
        if not _idle(weight_B == 0):
            result.addcmul_(padded.narrow(dim, tap, images_BCHW.shape[dim]), _per_sample(weight_B))
    return result


def _per_sample(value_B: Tensor) -> Tensor:
    return value_B[:, None, None, None]
