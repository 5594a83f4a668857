"""Losses of logits that are enlarged on the way, a few images at a time.

Done by the book, bilinear enlargement and cross-entropy keep the logits of all images at full size three times: the
enlarged ones, their logarithmic softmax and its gradient. Here each image is enlarged, compared and taken back to the
gradient of the small logits before the next one, so that only that gradient is kept, and the work stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from semiseg.models.layers import resize_bilinear

CHUNK = 2**20
"""Logits that are enlarged at once, or those of one image if that is more."""

PixelLoss = Callable[[Tensor, Tensor], tuple[Tensor, Callable[[], Tensor]]]
"""Takes logits_BKHW and label_B1HW, gives the loss (B, 1, H, W) and what returns its gradient (B, K, H, W)."""


def cross_entropy(logits_BKHW: Tensor, label_B1HW: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
    """Return the cross-entropy of each pixel; its derivative is the probabilities, less one at the label."""
    log_BKHW = logits_BKHW.log_softmax(dim=1)
    loss_B1HW = -log_BKHW.gather(1, label_B1HW)

    def slope() -> Tensor:
        slope_BKHW = log_BKHW.exp_()
        return slope_BKHW.scatter_add_(1, label_B1HW, slope_BKHW.new_full((), -1.0).expand_as(label_B1HW))

    return loss_B1HW, slope


def loss_sum(
    logits_BKhw: Tensor,
    label_BHW: Tensor,
    weight_BHW: Tensor,
    *,
    align_corners: bool = True,
    pixel_loss: PixelLoss = cross_entropy,
) -> Tensor:
    """Return the sum of a loss over the pixels that count, weighed.

    Args:
        logits_BKhw: of any size; they are enlarged to that of the labels.
        label_BHW: int64 class ids; what a pixel says that does not count is never read as a class.
        weight_BHW: bool, or how much each pixel counts, >= 0.
        align_corners: of the enlargement.
        pixel_loss: of each pixel.

    Returns:
        A scalar in the precision of the logits, at least float32, that can be differentiated once.
    """
    logits_BKhw = logits_BKhw if logits_BKhw.dtype == torch.float64 else logits_BKhw.float()
    total: Tensor = _EnlargedLoss.apply(logits_BKhw, label_BHW, weight_BHW, align_corners, pixel_loss)
    return total


class _EnlargedLoss(torch.autograd.Function):
    """The sum, with the gradient of the small logits computed along with it."""

    @staticmethod
    def forward(
        ctx: Any,
        logits_BKhw: Tensor,
        label_BHW: Tensor,
        weight_BHW: Tensor,
        align_corners: bool,
        pixel_loss: PixelLoss,
    ) -> Tensor:
        """Return the sum."""
        wanted = ctx.needs_input_grad[0]
        images = max(1, CHUNK // (logits_BKhw.shape[1] * label_BHW[0].numel())) if len(label_BHW) else 1
        parts = zip(*(tensor.split(images) for tensor in (logits_BKhw, label_BHW, weight_BHW)), strict=True)
        done = [_part(*part, align_corners=align_corners, wanted=wanted, pixel_loss=pixel_loss) for part in parts]
        if wanted:
            ctx.save_for_backward(torch.cat([gradient for _, gradient in done]))
        return torch.stack([total for total, _ in done]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient of the small logits."""
        (gradient_BKhw,) = ctx.saved_tensors
        return gradient_BKhw * of_total, None, None, None, None


def _part(
    logits_BKhw: Tensor,
    label_BHW: Tensor,
    weight_BHW: Tensor,
    *,
    align_corners: bool,
    wanted: bool,
    pixel_loss: PixelLoss,
) -> tuple[Tensor, Tensor]:
    """Return the sum of a few images and the gradient of their small logits, of no meaning where it is not wanted."""
    # Class by class, not channels last: there are few classes, and pixels are what a processor takes many at a time.
    size = (label_BHW.shape[1], label_BHW.shape[2])
    small_BKhw = logits_BKhw.detach().contiguous().requires_grad_(wanted)
    with torch.set_grad_enabled(wanted):
        enlarged_BKHW = resize_bilinear(small_BKhw, size, align_corners=align_corners)
    label_B1HW = label_BHW.masked_fill(weight_BHW == 0, 0)[:, None]
    loss_B1HW, slope = pixel_loss(enlarged_BKHW.detach(), label_B1HW)
    total = (loss_B1HW[:, 0] * weight_BHW).sum()
    if not wanted:
        return total, small_BKhw
    slope_BKHW = slope()
    slope_BKHW *= weight_BHW[:, None]
    if enlarged_BKHW is small_BKhw:
        return total, slope_BKHW
    (gradient_BKhw,) = torch.autograd.grad(enlarged_BKHW, small_BKhw, slope_BKHW)
    return total, gradient_BKhw
