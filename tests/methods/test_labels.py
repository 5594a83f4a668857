"""Which pixels are learned, and how much each counts, against sums written out in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from semiseg.methods.consistency import consistency_loss
from semiseg.methods.labels import PseudoLabel, Selection
from semiseg.methods.settings import Pixels

B, K, H, W = 3, 4, 5, 6


def drawn() -> tuple[torch.Tensor, PseudoLabel]:
    """Logits, and labels of which some are ignored and, in the last crop, all."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(B, K, H, W, generator=generator, dtype=torch.float64)
    label = torch.randint(0, K, (B, H, W), generator=generator)
    ignore = torch.rand(B, H, W, generator=generator) < 0.3
    ignore[-1] = True
    return logits, PseudoLabel(label, torch.rand(B, H, W, generator=generator, dtype=torch.float64), ignore)


def by_hand(logits: Any, pseudo: PseudoLabel, threshold: float, pixels: Pixels) -> float:
    """Return the loss, crop by crop and pixel by pixel."""
    label, confidence, ignore = (part.numpy() for part in pseudo.maps)
    total = 0.0
    for crop in range(B):
        valid = [(y, x) for y in range(H) for x in range(W) if not ignore[crop, y, x]]
        sure = [place for place in valid if confidence[crop][place] >= threshold]
        weight = {
            "confident": 1.0,
            "by_share": len(sure) / max(1, len(valid)),
            "by_confidence": sum(confidence[crop][place] for place in valid) / max(1, len(valid)),
        }[pixels]
        for y, x in sure if pixels == "confident" else valid:
            scores = logits[crop, :, y, x]
            total += weight * (np.log(np.exp(scores).sum()) - scores[label[crop, y, x]])
    return total / (~ignore).sum()


@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.1])
@pytest.mark.parametrize("pixels", ["confident", "by_share", "by_confidence"])
def test_the_loss_is_that_of_the_selected_pixels(pixels: Pixels, threshold: float) -> None:
    logits, pseudo = drawn()
    loss = consistency_loss(logits, pseudo, (~pseudo.ignore_BHW).sum(), Selection(threshold, pixels))
    assert loss.item() == pytest.approx(by_hand(logits.numpy(), pseudo, threshold, pixels), rel=1e-12)


@pytest.mark.parametrize("pixels", ["by_share", "by_confidence"])
def test_an_ignored_crop_teaches_nothing_and_is_no_division_by_zero(pixels: Pixels) -> None:
    _, pseudo = drawn()
    weights = Selection(0.6, pixels).weights(pseudo)
    assert weights.isfinite().all()
    assert not weights[pseudo.ignore_BHW].any()
    assert len(weights[0].unique()) == 2  # one weight for the whole crop, and none
