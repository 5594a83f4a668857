"""Losses of labeled pixels, in fp32, divided by the pixel count of the global batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from semiseg.data import Batch
from semiseg.methods.cross_entropy import PixelLoss, cross_entropy, loss_sum
from semiseg.methods.evidence import evidential_loss
from semiseg.methods.settings import LossConfig
from semiseg.models.layers import resize_bilinear


def share(sum_: Tensor, count: Tensor) -> Tensor:
    """Divide a chunk's sum by the global count; without any pixel the share is 0 and so is its gradient."""
    return sum_ / count.clamp(min=1).to(sum_.dtype)


def pixel_loss(evidence: bool) -> PixelLoss:
    """Return the loss of a pixel, of labels and of pseudo-labels alike: the cross-entropy, or with evidence its own."""
    return evidential_loss if evidence else cross_entropy


def labeled_loss(
    logits_BKHW: Tensor,
    batch: Batch,
    config: LossConfig,
    ignore_value: int,
    *,
    align_corners: bool = True,
    evidence: bool = False,
) -> Tensor:
    """Return the chunk's share of the labeled loss; smaller logits are enlarged to the size of the masks.

    Cross-entropy shares add up to the mean over the valid pixels of the global batch, however it is divided. OHEM
    chooses its pixels within a chunk, as published within a GPU's batch, so its shares are means of chunks.
    """
    mask_BHW = batch.labeled.mask_BHW.long()
    if config.labeled == "ohem":
        size = (mask_BHW.shape[1], mask_BHW.shape[2])
        logits_BKHW = resize_bilinear(logits_BKHW.float(), size, align_corners=align_corners)
        return ohem_loss(logits_BKHW, mask_BHW, config, ignore_value) / batch.place.chunks
    valid_BHW, of_pixel = mask_BHW != ignore_value, pixel_loss(evidence)
    loss = loss_sum(logits_BKHW, mask_BHW, valid_BHW, align_corners=align_corners, pixel_loss=of_pixel)
    return share(loss, batch.pixels.labeled)


def ohem_loss(logits_BKHW: Tensor, mask_BHW: Tensor, config: LossConfig, ignore_value: int) -> Tensor:
    """Return the mean cross-entropy of the hard pixels (online hard example mining).

    Hard are pixels whose true class has a probability of at most the threshold, but at least the `ohem_min_kept`
    hardest for each image; where fewer pixels are valid, all of them.
    """
    wanted = config.ohem_min_kept * len(mask_BHW)
    valid = mask_BHW != ignore_value
    loss = F.cross_entropy(logits_BKHW.float(), mask_BHW, ignore_index=ignore_value, reduction="none")
    # -log p of the true class is the loss itself; ignored pixels count as certain, so they are kept last.
    probability = (-loss.detach()).exp().masked_fill(~valid, 1.0).flatten()
    kept = min(wanted, probability.numel())
    if kept > 0:
        hardest = probability.kthvalue(kept).values.clamp(min=config.ohem_threshold)
        enough = valid.sum() >= wanted
        keep = valid & ((probability.view_as(loss) <= hardest) | ~enough)
    else:
        keep = valid & (probability.view_as(loss) <= config.ohem_threshold)
    return share((loss * keep).sum(), keep.sum())
