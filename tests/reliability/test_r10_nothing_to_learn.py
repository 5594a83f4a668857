"""R10: where nothing can be learned (all ignored, nobody confident) the loss is 0 and so is its gradient, never NaN."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semiseg.api import TrainedRun
from semiseg.augment import cutmix
from semiseg.methods.consistency import consistency_loss
from semiseg.methods.labels import PseudoLabel, Selection
from semiseg.methods.losses import LossConfig, ohem_loss, share

TrainTiny = Callable[..., TrainedRun]
Numbers = Callable[[Path], dict[tuple[int, str], float]]
B, K, H, W = 2, 3, 6, 6


def is_nothing(loss: torch.Tensor, logits: torch.Tensor) -> bool:
    loss.backward()
    return loss.item() == 0 and logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kept", [0, 5, 10**6])
def test_r10_all_labels_ignored_under_ohem(dtype: torch.dtype, kept: int) -> None:
    logits = torch.randn(B, K, H, W, dtype=dtype, requires_grad=True)
    config = LossConfig(labeled="ohem", ohem_min_kept=kept)
    assert is_nothing(ohem_loss(logits, torch.full((B, H, W), 255), config, 255), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_r10_no_label_is_confident(dtype: torch.dtype) -> None:
    logits = torch.randn(B, K, H, W, dtype=dtype, requires_grad=True)
    label, ignore = torch.zeros(B, H, W, dtype=torch.int64), torch.zeros(B, H, W, dtype=torch.bool)
    pseudo = PseudoLabel(label, torch.full((B, H, W), 0.5), ignore)
    assert is_nothing(consistency_loss(logits, pseudo, torch.tensor(B * H * W), Selection(0.95)), logits)


def test_r10_everything_is_padding_after_cutmix() -> None:
    """The valid half of one sample is pasted over by the padding of the other."""
    ignore = torch.zeros(B, H, W, dtype=torch.bool)
    ignore[0, :, :3] = True
    ignore[1] = True
    box_B4 = torch.tensor([[3, 0, 6, 6], [0, 0, 0, 0]])
    pseudo = PseudoLabel(torch.zeros(B, H, W, dtype=torch.int64), torch.ones(B, H, W), ignore).mixed(box_B4)
    assert cutmix(ignore, box_B4).all()
    logits = torch.randn(B, K, H, W, requires_grad=True)
    assert is_nothing(consistency_loss(logits, pseudo, (~pseudo.ignore_BHW).sum(), Selection(0.0)), logits)


def test_r10_a_share_of_no_pixels_is_zero() -> None:
    total = torch.zeros((), requires_grad=True)
    share(total, torch.tensor(0)).backward()
    assert total.grad is not None
    assert total.grad.isfinite()


@pytest.mark.parametrize("method", ["supervised", "fixmatch", "unimatch_v2"])
def test_r10_a_training_survives_labels_that_say_nothing(
    train_tiny: TrainTiny, numbers: Numbers, tiny_scenes: Path, tmp_path: Path, method: str
) -> None:
    root = tmp_path / "scenes"
    for path in tiny_scenes.rglob("*"):
        if path.is_file():
            copy = root / path.relative_to(tiny_scenes)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    val = (root / "splits" / "val.txt").read_text() if (root / "splits" / "val.txt").exists() else ""
    for mask in (path for path in (root / "masks").rglob("*.png") if path.name not in val):
        size = Image.open(mask).size
        Image.fromarray(np.full(size[::-1], 255, np.uint8)).save(mask)
    run = train_tiny("x", "--method", method, "--data.root", str(root), "--consistency.threshold", "1.1")
    found = numbers(run.path)
    assert [found[step, "train/loss"] for step in (1, 2, 3)] == [0.0, 0.0, 0.0]
