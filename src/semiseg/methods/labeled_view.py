"""What the student sees of labeled crops: as published weak views, or strong ones like those of unlabeled crops."""

from __future__ import annotations

from dataclasses import replace

from semiseg.augment import apply_photometric, cutmix
from semiseg.data import Batch, Labeled
from semiseg.methods.settings import LabeledView


def as_seen(batch: Batch, view: LabeledView) -> Batch:
    """Return the batch with its labeled crops as the student sees them: uint8, or float32 in 0..1 where recoloured.

    CutMix pastes images and masks alike, from the labeled crops of the chunk in reverse order.
    """
    if view == "weak":
        return batch
    (draws,) = batch.labeled.views
    images_BTCHW, mask_BHW = apply_photometric(batch.labeled.images_BTCHW, draws.photometric), batch.labeled.mask_BHW
    if view == "strong":
        images_BTCHW, mask_BHW = cutmix(images_BTCHW, draws.box_B4), cutmix(mask_BHW, draws.box_B4)
    return replace(batch, labeled=Labeled(images_BTCHW.permute(0, 1, 3, 4, 2), mask_BHW, batch.labeled.views))
