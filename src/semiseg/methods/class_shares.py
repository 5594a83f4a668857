"""How much of what is learned is of each class: of the labels, the pseudo-labels, and those of them that teach."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semiseg.data import Batch, DatasetSpec
from semiseg.methods.labels import PseudoLabel, Selection
from semiseg.methods.losses import share

LABELED, PSEUDO, CONFIDENT = "labeled", "pseudo", "confident"
"""What is counted of each class: labeled pixels, weak pixels by their pseudo-label, and the confident ones of those."""


@torch.no_grad()
def class_shares(pseudo: PseudoLabel, batch: Batch, selection: Selection, spec: DatasetSpec) -> dict[str, Tensor]:
    """Return the chunk's shares of all valid pixels that are of each class, float64 (K,), without waiting for a GPU.

    Those of the labels, and those of the pseudo-labels, sum to 1 over classes and chunks; those of the confident
    pseudo-labels to the confident part of the pixels.

    Args:
        pseudo: the labels of the weak view.
        batch: the chunk.
        selection: which of them are sure.
        spec: the classes.
    """
    classes, mask_BHW = spec.num_classes, batch.labeled.mask_BHW.long()
    pairs_BHW = 2 * pseudo.label_BHW + selection.confident(pseudo)
    pairs_BHW = pairs_BHW.masked_fill(pseudo.ignore_BHW, 2 * classes)
    counts_K2 = histogram(pairs_BHW, 2 * classes + 1)[:-1].view(classes, 2)
    labels_K = histogram(mask_BHW.masked_fill(mask_BHW == spec.ignore_value, classes), classes + 1)[:-1]
    return {
        LABELED: share(labels_K, batch.pixels.labeled),
        PSEUDO: share(counts_K2.sum(dim=1), batch.pixels.weak),
        CONFIDENT: share(counts_K2[:, 1], batch.pixels.weak),
    }


def histogram(values: Tensor, bins: int) -> Tensor:
    """Count the integers 0 to bins - 1: float64 (bins,).

    `torch.bincount` would wait for a GPU, to see how many bins there are, and takes 20 times as long as NumPy on a CPU.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(np.bincount(values.numpy().ravel(), minlength=bins)).double()
    return torch.histc(values, bins=bins, min=0, max=bins - 1).double()
