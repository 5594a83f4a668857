"""Evidential learning (arXiv 1806.01768): logits say how much evidence there is for each class, and what is in doubt.

A network with `model.evidence` gives the logarithm of the parameters of a Dirichlet distribution over the classes,
`alpha = 1 + evidence`. Their softmax is its mean, so whoever wants probabilities needs to know nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def evidential_loss(logits_BKHW: Tensor, label_B1HW: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
    """Return `digamma(S) - digamma(alpha of the label)`, S the sum of all alpha: the expected cross-entropy.

    Args:
        logits_BKHW: logarithms of alpha.
        label_B1HW: int64 class ids.

    Returns:
        The loss (B, 1, H, W), and what returns its gradient (B, K, H, W).
    """
    alpha_BKHW = logits_BKHW.exp()
    total_B1HW, own_B1HW = alpha_BKHW.sum(dim=1, keepdim=True), alpha_BKHW.gather(1, label_B1HW)

    def slope() -> Tensor:
        slope_BKHW = alpha_BKHW * torch.polygamma(1, total_B1HW)
        return slope_BKHW.scatter_add_(1, label_B1HW, -own_B1HW * torch.polygamma(1, own_B1HW))

    return torch.digamma(total_B1HW) - torch.digamma(own_B1HW), slope


def certainty(logits_BKHW: Tensor) -> Tensor:
    """Return 1 - K / S: 0 without any evidence, towards 1 with much of it; (B, H, W)."""
    return 1 - logits_BKHW.shape[1] * torch.exp(-logits_BKHW.logsumexp(dim=1))
