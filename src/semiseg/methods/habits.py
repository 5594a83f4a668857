"""How labels and the teacher speak of each class: averages over the last steps, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from semiseg.methods.class_shares import LABELED, PSEUDO, histogram
from semiseg.methods.labels import PseudoLabel
from semiseg.methods.losses import share

NAMED, CONFIDENCE = "named", "confidence"
"""Also counted of each class: weak pixels that the teacher calls so before any correction, and the confidence of its
pseudo-labels, summed up."""
KEPT = (LABELED, PSEUDO, NAMED, CONFIDENCE)
LEVELS = 256
"""Confidence is summed up in so many steps, as whole numbers, which any order of a sum leaves alone."""
LIMIT = 0.99
"""Of the averages' decay: they are of all steps at first, and later of the last hundred or so. FreeMatch (arXiv
2205.07246) has 0.999, of schedules of a million steps."""
FLOOR = 1e-3
"""Added to shares before they are compared, so that a class that nobody names is corrected by a bounded factor."""


class ClassHabits:
    """Averages of shares of the valid pixels of a step, by class.

    They are of the global batch, so they are the same however it is divided.

    Attributes:
        steps: how many steps were seen, a scalar on the device.
        means_4K: the averages of what `KEPT` names, float64.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        """Begin without having seen a step: nothing is corrected, and all thresholds are equal.

        Args:
            classes: K.
            device: where the averages are kept.
        """
        self.steps = torch.zeros((), dtype=torch.float64, device=device)
        self.means_4K = torch.zeros(len(KEPT), classes, dtype=torch.float64, device=device)

    @torch.no_grad()
    def take(self, shares: Mapping[str, Tensor], gather: Callable[[Tensor], Tensor]) -> None:
        """Take what a step has shown; all processes must call.

        Args:
            shares: (K,) of each of `KEPT`, of all chunks of this process.
            gather: concatenates over all processes.
        """
        seen_4K = gather(torch.stack([shares[name] for name in KEPT])[None]).sum(dim=0)
        self.steps = self.steps + 1
        self.means_4K = torch.lerp(seen_4K, self.means_4K, (1 - 1 / self.steps).clamp(max=LIMIT))

    def thresholds(self, highest: float) -> Tensor:
        """Return the threshold of each class, (K,): the highest for the class that the teacher is surest of.

        The others' are lower by as much as their mean confidence is: FlexMatch's rule (arXiv 2110.08263, equation 7).
        There a class's learning state is how many samples of it are confident, which in images, where a class may be
        small, would take the rare for the difficult; here it is how confident the teacher is where it names the class.
        """
        _, pseudo_K, _, confidence_K = self.means_4K.unbind()
        mean_K = confidence_K / pseudo_K.clamp(min=1e-12)
        relative_K = mean_K / mean_K.max().clamp(min=1e-12)
        return highest * relative_K.masked_fill(pseudo_K == 0, 1.0)

    def correction(self, strength: float) -> Tensor:
        """Return what is added to the teacher's logits of each class, (K,): `strength * log(labeled / named)`.

        With strength 1 its probabilities are multiplied by labeled / named: the distribution alignment of ReMixMatch
        (arXiv 1911.09785, section 3.1). A teacher that names each class as often as labels do is left alone.
        """
        labeled_K, _, named_K, _ = self.means_4K.unbind()
        return strength * ((labeled_K + FLOOR) / (named_K + FLOOR)).log()

    def state(self) -> dict[str, Tensor]:
        """Return all of it, for a checkpoint."""
        return {"steps": self.steps, "means": self.means_4K}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo `state`; the tensors may lie on another device."""
        self.steps = tensors["steps"].to(self.steps.device)
        self.means_4K = tensors["means"].to(self.means_4K.device)


@torch.no_grad()
def class_habits(pseudo: PseudoLabel, pixels: Tensor, classes: int) -> dict[str, Tensor]:
    """Return the chunk's shares of what `NAMED` and `CONFIDENCE` count, (K,) each, beside those of `class_shares`.

    Args:
        pseudo: the labels of the weak view.
        pixels: valid weak pixels of the global batch.
        classes: K.
    """
    levels_BHW = (pseudo.confidence_BHW.nan_to_num() * (LEVELS - 1)).round().long()
    pairs_BHW = (LEVELS * pseudo.label_BHW + levels_BHW).masked_fill(pseudo.ignore_BHW, LEVELS * classes)
    counts_KL = histogram(pairs_BHW, LEVELS * classes + 1)[:-1].view(classes, LEVELS)
    levels_L = torch.arange(LEVELS, dtype=torch.float64, device=counts_KL.device) / (LEVELS - 1)
    named_BHW = pseudo.label_BHW if pseudo.uncorrected_BHW is None else pseudo.uncorrected_BHW
    named_K = histogram(named_BHW.masked_fill(pseudo.ignore_BHW, classes), classes + 1)[:-1]
    return {NAMED: share(named_K, pixels), CONFIDENCE: share((counts_KL * levels_L).sum(dim=1), pixels)}
