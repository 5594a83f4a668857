"""Colour jitter, grayscale and blur, each sample with its own parameters and its own order, applied to a whole batch.

The parameters are drawn on the CPU, in the worker that read the sample; the pixels change on the device. There nothing
is ever read back to the host: a sample that does not take part in an operation passes through it unchanged.

Three facts make the random order cheap. Brightness, contrast and saturation are one operation, a blend of the image
with black, with its mean gray or with its own gray. A blend with factor 1 changes nothing. And hue, the costly one,
comes once: so any order of the four is *blends, hue, blends*, where each blend acts on one side and rests on the other.

A CPU, which waits for nobody, goes sample by sample instead (`on_cpu`), with the same results.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.augment import on_cpu
from semiseg.augment.draws import BLUR_RADIUS, CONTRAST, HUE, LUMA, SATURATION, PhotometricDraws, blur_kernels


@torch.no_grad()
def apply_photometric(images: Tensor, draws: PhotometricDraws) -> Tensor:
    """Make photometric views: jitter in each sample's order, then grayscale, then blur.

    Follows the 8-bit operations of torchvision on Pillow images that the published systems use, in float32 and without
    their rounding, also under autocast. On an accelerator it never waits for the device.

    Args:
        images: (..., 3, H, W) RGB, float in [0, 1] or uint8 in 0..255; leading dimensions as in `draws`, for example
            (B,) or (B, T).
        draws: the parameters, on the images' device.

    Returns:
        The views, (..., 3, H, W) float32 in [0, 1], contiguous.
    """
    leading = images.shape[:-3]
    flat = draws.map(lambda tensor: tensor.reshape(-1, *tensor.shape[len(leading) :]))
    images_NCHW = images.flatten(0, -4) if leading else images[None]
    if images.device.type == "cpu":
        views_NCHW = on_cpu.make_views(images_NCHW, flat)
    else:
        pixels_NCHW = images_NCHW.float() / 255 if images.dtype == torch.uint8 else images_NCHW.float()
        views_NCHW = _view(pixels_NCHW.contiguous(), flat)
    return views_NCHW.reshape(images.shape)


def _view(images_BCHW: Tensor, draws: PhotometricDraws) -> Tensor:
    factors_B4 = draws.factors.gather(1, draws.order)  # by position, no longer by operation
    hues_so_far_B4 = (draws.order == HUE).cumsum(1)
    before_B4 = factors_B4.masked_fill(hues_so_far_B4 > 0, 1.0)
    after_B4 = factors_B4.masked_fill((hues_so_far_B4 == 0) | (draws.order == HUE), 1.0)

    for position in (0, 1, 2):
        images_BCHW = _blend(images_BCHW, before_B4[:, position], draws.order[:, position])
    images_BCHW = _shift_hue(images_BCHW, draws.factors[:, HUE])
    for position in (1, 2, 3):
        images_BCHW = _blend(images_BCHW, after_B4[:, position], draws.order[:, position])

    grayscale_B = torch.ones_like(draws.sigma).masked_fill(draws.grayscale, 0.0)
    images_BCHW = _blend(images_BCHW, grayscale_B, torch.full_like(draws.order[:, 0], SATURATION))
    return _blur(images_BCHW, draws.sigma)


def _blend(images_BCHW: Tensor, factor_B: Tensor, operation_B: Tensor) -> Tensor:
    """Return factor * image + (1 - factor) * (black, mean gray or gray, as the operation has it), clamped to [0, 1]."""
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
    of_red, of_green, of_blue = LUMA
    gray_BHW = (of_red * red).add_(green, alpha=of_green).add_(blue, alpha=of_blue)
    return gray_BHW[:, None]


def _shift_hue(images_BCHW: Tensor, shift_B: Tensor) -> Tensor:
    """Turn the hue by `shift_B` turns at constant value and saturation (HSV).

    With the new hue in sixths of a turn, red = max - chroma * clamp(2 - |hue - 3|, 0, 1) and likewise green and blue:
    the round trip through HSV without its case distinctions on the way back.
    """
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
    kernel_BK = blur_kernels(sigma_B)
    return _convolve(_convolve(images_BCHW, kernel_BK, dim=3), kernel_BK, dim=2).clamp_(0, 1)


def _convolve(images_BCHW: Tensor, kernel_BK: Tensor, dim: int) -> Tensor:
    """Convolve along rows (dim 3) or columns (dim 2), tap by tap."""
    side = (BLUR_RADIUS, BLUR_RADIUS)
    padded = F.pad(images_BCHW, (*side, 0, 0) if dim == 3 else (0, 0, *side), mode="replicate")
    result = torch.zeros_like(images_BCHW)
    for tap, weight_B in enumerate(kernel_BK.unbind(1)):
        result.addcmul_(padded.narrow(dim, tap, images_BCHW.shape[dim]), _per_sample(weight_B))
    return result


def _per_sample(value_B: Tensor) -> Tensor:
    return value_B[:, None, None, None]
