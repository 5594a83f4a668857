from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from semiseg.data import DatasetSpec
from semiseg.data.palette import default_palette
from semiseg.methods.class_shares import class_shares
from semiseg.methods.labels import PseudoLabel, Selection

SPEC = DatasetSpec(name="three", classes=("a", "b", "c"), palette=default_palette(3))


def batch(mask: list[int], *, labeled: float, weak: float) -> Any:
    pixels = SimpleNamespace(labeled=torch.tensor(labeled).double(), weak=torch.tensor(weak).double())
    mask_BHW = torch.tensor(mask, dtype=torch.uint8).view(1, 1, -1)
    return SimpleNamespace(labeled=SimpleNamespace(mask_BHW=mask_BHW), pixels=pixels)


def pseudo(label: list[int], confidence: list[float], ignore: list[bool]) -> PseudoLabel:
    return PseudoLabel(*(torch.tensor(values).view(1, 1, -1) for values in (label, confidence, ignore)))


def test_shares_are_of_valid_pixels_class_by_class() -> None:
    labels = pseudo([0, 0, 2, 2, 1], [0.95, 0.5, 0.99, 0.2, 1.0], [False, False, False, False, True])
    found = class_shares(labels, batch([0, 0, 0, 1, 255], labeled=4, weak=4), Selection(0.95), SPEC)
    assert found["labeled"].tolist() == [0.75, 0.25, 0]
    assert found["pseudo"].tolist() == [0.5, 0, 0.5]
    assert found["confident"].tolist() == [0.25, 0, 0.25]


def test_chunks_of_a_global_batch_add_up_and_without_a_pixel_all_is_zero() -> None:
    labels = pseudo([0, 1], [1.0, 1.0], [False, False])
    parts = [class_shares(labels, batch([2, 2], labeled=4, weak=4), Selection(0.5), SPEC) for _ in range(2)]
    assert (parts[0]["pseudo"] + parts[1]["pseudo"]).tolist() == [0.5, 0.5, 0]
    nothing = class_shares(
        pseudo([0, 1], [1.0, 1.0], [True, True]), batch([255, 255], labeled=0, weak=0), Selection(0.5), SPEC
    )
    assert all(shares.tolist() == [0, 0, 0] for shares in nothing.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_counts_alike_and_is_not_waited_for() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (4, 64, 64), generator=generator)
    labels = PseudoLabel(label, torch.rand(4, 64, 64, generator=generator), label == 1)
    here = batch([0, 2, 255, 1], labeled=3, weak=100)
    there = batch([0, 2, 255, 1], labeled=3, weak=100)
    there.labeled.mask_BHW = there.labeled.mask_BHW.cuda()
    there.pixels.labeled, there.pixels.weak = there.pixels.labeled.cuda(), there.pixels.weak.cuda()
    moved = PseudoLabel(*(part.cuda() for part in labels.maps))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = class_shares(moved, there, Selection(0.5), SPEC)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, shares in class_shares(labels, here, Selection(0.5), SPEC).items():
        assert torch.equal(found[name].cpu(), shares)
