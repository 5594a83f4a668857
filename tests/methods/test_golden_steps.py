"""Losses, schedules and evaluation against figures recorded from the public implementation (commit f6afb4d).

The inputs are redrawn here by the same rule (NumPy's Philox keyed by a name); only the resulting figures are stored.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.data import Batch, DatasetSpec, Labeled, PixelCounts, Place
from semiseg.engine.evaluation import Evaluation, count_confusion
from semiseg.engine.inference import predict_scores
from semiseg.engine.schedule import lr_factor
from semiseg.methods import LossConfig, ema_decay, pseudo_label
from semiseg.methods.consistency import confident_share, consistency_loss
from semiseg.methods.labels import Selection
from semiseg.methods.losses import labeled_loss, ohem_loss

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/methods.json").read_text())
B, K, H, W = 4, 5, 24, 30
BOXES = (
    torch.tensor([[3, 2, 17, 15], [0, 0, 0, 0], [10, 5, 30, 24], [1, 1, 9, 20]]),
    torch.tensor([[0, 0, 0, 0], [4, 4, 20, 12], [0, 0, 12, 24], [0, 0, 0, 0]]),
)


def generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))


def noise(name: str, *shape: int) -> Tensor:
    return torch.tensor(generator(name).standard_normal(shape), dtype=torch.float32)


def masks(name: str, classes: int, *shape: int) -> Tensor:
    """Class ids and, as often as each class, the ignore value."""
    drawn = torch.tensor(generator(name).integers(0, classes + 1, shape))
    return drawn.masked_fill(drawn == classes, 255)


class Canned(nn.Module):
    """A teacher that says what it was told to."""

    def __init__(self, logits_BKHW: Tensor) -> None:
        super().__init__()
        self.logits_BKHW = logits_BKHW

    def forward(self, images_BTCHW: Tensor) -> Tensor:
        return self.logits_BKHW


def batch_of(mask_BHW: Tensor) -> Batch:
    count = (mask_BHW != 255).sum().double()
    images = torch.zeros(B, 1, H, W, 3, dtype=torch.uint8)
    place = Place(seed=0, step=0, steps=1, steps_per_epoch=1, batch=B, chunks=1, positions_B=torch.arange(B))
    pixels = PixelCounts(count, torch.zeros(()), torch.zeros(0))
    return Batch(place, Labeled(images, mask_BHW.to(torch.uint8)), None, pixels, ids=())


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_losses_with_ignored_and_unsure_pixels_and_cutmix(scale: float) -> None:
    golden = GOLDEN[f"scale{scale:g}"]
    ignore = torch.tensor(generator("ignore").integers(0, 4, (B, H, W))) == 0
    pseudo = pseudo_label(Canned(scale * noise("pred_u_w", B, K, H, W)), torch.zeros(B, 1, 3, H, W), ignore)
    found = {
        "loss_x": labeled_loss(
            2 * noise("pred_x", B, K, H, W), batch_of(masks("mask_x", K, B, H, W)), LossConfig(), 255
        ),
        "mask_ratio": confident_share(pseudo, (~ignore).sum(), Selection(0.95)),
        "confidence_mean": pseudo.confidence_BHW.double().mean(),
    }
    for view, box in enumerate(BOXES, 1):
        mixed = pseudo.mixed(box)
        logits = 2 * noise(f"pred_s{view}", B, K, H, W)
        found[f"loss_s{view}"] = consistency_loss(logits, mixed, (~mixed.ignore_BHW).sum(), Selection(0.95))
    assert {name: value.item() for name, value in found.items()} == pytest.approx(golden, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("threshold", "kept"), [(0.7, 100), (0.7, 1500), (0.3, 1000), (0.7, 200_000)])
def test_ohem(threshold: float, kept: int) -> None:
    config = LossConfig(labeled="ohem", ohem_threshold=threshold, ohem_min_kept=kept // B)
    loss = ohem_loss(2 * noise("pred_x", B, K, H, W), masks("mask_x", K, B, H, W), config, 255)
    assert loss.item() == pytest.approx(GOLDEN["ohem"][str(kept)], rel=1e-5)


def test_first_ten_learning_rates() -> None:
    golden = GOLDEN["lr"]
    factors = [lr_factor(step, golden["total"]) for step in range(10)]
    assert [5e-6 * factor for factor in factors] == pytest.approx(golden["encoder"], rel=1e-12)
    assert [5e-6 * 40 * factor for factor in factors] == pytest.approx(golden["decoder"], rel=1e-12)


def test_first_ten_decays_of_the_teacher() -> None:
    assert [ema_decay(step, 0.996) for step in range(10)] == pytest.approx(GOLDEN["ema"], rel=1e-12)


class Wide(nn.Module):
    """A 9x9 convolution with zero padding: what a window does not show changes its scores."""

    patch = 14

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.num_classes = classes
        self.weight, self.bias = noise("eval_w", classes, 3, 9, 9), noise("eval_b", classes)

    def forward(self, images_BTCHW: Tensor) -> Tensor:
        return F.conv2d(images_BTCHW[:, 0], self.weight, self.bias, padding=4)


@pytest.mark.parametrize("protocol", ["original", "sliding"])
def test_both_evaluation_protocols(protocol: Any) -> None:
    golden = GOLDEN[f"evaluate_{protocol}"]
    classes = golden["classes"]
    spec = DatasetSpec(name="", classes=tuple(f"{index}" for index in range(classes)))
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for index, (height, width) in enumerate(golden["sizes"]):
        image = noise(f"img{index}", 1, 3, height, width)[:, None]
        scores = predict_scores(Wide(classes), image, protocol=protocol, window=golden["crop"] or 0)  # type: ignore[arg-type]
        truth = masks(f"mask{index}", classes, 1, height, width).to(torch.uint8)
        confusion += count_confusion(truth, scores.argmax(1), classes, 255).sum(0)
    found = Evaluation(spec.classes, confusion.numpy())
    # One pixel of rounding moves a class of 300 pixels by 0.003.
    assert 100 * found.miou == pytest.approx(golden["miou"], abs=1e-3)
    assert (100 * found.iou_K).tolist() == pytest.approx(golden["iou"], abs=1e-2)
