"""What a teacher says of each pixel, and which of it is learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semiseg.augment import cutmix
from semiseg.methods.evidence import certainty
from semiseg.methods.settings import Pixels


@dataclass(frozen=True)
class PseudoLabel:
    """The teacher's opinion: `label_BHW` int64, `confidence_BHW` fp32 in 0..1, `ignore_BHW` bool.

    `uncorrected_BHW` is what it said before its classes were drawn to the shares of the labels, of a weak view.
    """

    label_BHW: Tensor
    confidence_BHW: Tensor
    ignore_BHW: Tensor
    uncorrected_BHW: Tensor | None = None

    def mixed(self, box_B4: Tensor, content: PseudoLabel | None = None) -> PseudoLabel:
        """Paste all three maps as CutMix pastes the images: from `content`, or from the batch in reverse order."""
        pasted = (None, None, None) if content is None else content.maps
        return PseudoLabel(*(cutmix(own, box_B4, other) for own, other in zip(self.maps, pasted, strict=True)))

    @property
    def maps(self) -> tuple[Tensor, Tensor, Tensor]:
        """The label, the confidence and what is ignored."""
        return self.label_BHW, self.confidence_BHW, self.ignore_BHW

    def confident(self, threshold: float | Tensor) -> Tensor:
        """Return where the label is sure and not ignored: (B, H, W) bool.

        Args:
            threshold: for all classes, or (K,) for each.
        """
        if isinstance(threshold, Tensor):
            threshold = threshold.to(self.confidence_BHW.dtype)[self.label_BHW]
        return (self.confidence_BHW >= threshold) & ~self.ignore_BHW


@dataclass(frozen=True)
class Selection:
    """Which pseudo-labels are learned.

    Attributes:
        threshold: least confidence of a label that is sure, 0 to 1; or (K,) of each class.
        pixels: whether the sure ones are learned, or all, weighed crop by crop.
        evidence: whether they are learned by the evidential loss.
    """

    threshold: float | Tensor
    pixels: Pixels = "confident"
    evidence: bool = False

    def confident(self, pseudo: PseudoLabel) -> Tensor:
        """Return which labels are sure: (B, H, W) bool."""
        return pseudo.confident(self.threshold)

    def weights(self, pseudo: PseudoLabel) -> Tensor:
        """Return how much each pixel counts in the loss: (B, H, W), bool, or of the confidence's type in 0..1.

        A crop is weighed as the student sees it, after CutMix.
        """
        if self.pixels == "confident":
            return self.confident(pseudo)
        valid_BHW = ~pseudo.ignore_BHW
        trusted_BHW = self.confident(pseudo) if self.pixels == "by_share" else pseudo.confidence_BHW * valid_BHW
        count_B = valid_BHW.sum(dim=(1, 2)).clamp(min=1)
        weight_B = trusted_BHW.sum(dim=(1, 2), dtype=pseudo.confidence_BHW.dtype) / count_B
        return weight_B[:, None, None] * valid_BHW


Reading = Callable[[Tensor, Tensor], PseudoLabel]
"""Turns logits_BKHW and ignore_BHW into labels; `opinion` is one."""


@torch.no_grad()
def opinion(
    logits_BKHW: Tensor, ignore_BHW: Tensor, correction_K: Tensor | None = None, *, evidence: bool = False
) -> PseudoLabel:
    """Return what a teacher with these logits thinks.

    Args:
        logits_BKHW: its own.
        ignore_BHW: where nothing is learned.
        correction_K: what is added to the logits before.
        evidence: whether its confidence is how much evidence it has, not the largest probability.
    """
    uncorrected_BHW = None
    if correction_K is not None:
        uncorrected_BHW = logits_BKHW.argmax(dim=1)
        logits_BKHW = logits_BKHW + correction_K.to(logits_BKHW.dtype)[:, None, None]
    top_BHW, label_BHW = logits_BKHW.max(dim=1)
    if evidence:
        return PseudoLabel(label_BHW, certainty(logits_BKHW), ignore_BHW, uncorrected_BHW)
    # The largest softmax probability from the one maximum: 1 / sum(exp(logit - largest)). In fp32, as bf16 has no
    # value near the threshold of 0.95 (only 0.9492 and 0.9531).
    confidence_BHW = (logits_BKHW - top_BHW[:, None]).exp_().sum(dim=1).reciprocal_()
    return PseudoLabel(label_BHW, confidence_BHW, ignore_BHW, uncorrected_BHW)
