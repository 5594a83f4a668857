from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.methods import cross_entropy
from semiseg.methods.cross_entropy import loss_sum

B, K = 3, 5


def drawn(size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels with the ignore value where a pixel does not count, and which do."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(B, K, 6, 4, generator=generator, dtype=torch.float64)
    counted = torch.rand(B, *size, generator=generator) < 0.6
    return logits, torch.randint(0, K, (B, *size), generator=generator).where(counted, 255), counted


def by_the_book(logits: Tensor, label: Tensor, counted: Tensor, *, align_corners: bool) -> Tensor:
    size = (label.shape[1], label.shape[2])
    enlarged = F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)
    loss = F.cross_entropy(enlarged, label, ignore_index=255, reduction="none")
    return (loss * counted).sum()


@pytest.mark.parametrize("chunk", [1, 2**20])
@pytest.mark.parametrize("size", [(6, 4), (21, 13), (12, 8)])
@pytest.mark.parametrize("align_corners", [True, False])
def test_sum_and_gradient_are_those_of_the_formula(
    chunk: int, size: tuple[int, int], align_corners: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK", chunk)
    logits, label, counted = drawn(size)
    found = []
    for loss in (loss_sum, by_the_book):
        leaf = logits.to(memory_format=torch.channels_last).requires_grad_()
        total = loss(leaf, label, counted, align_corners=align_corners)
        (total / 7).backward()
        found.append((total.detach(), leaf.grad))
        logits = logits.detach().clone()
    torch.testing.assert_close(found[0], found[1], rtol=1e-13, atol=1e-14)


def test_what_is_kept_for_the_backward_pass_has_the_size_of_the_small_logits() -> None:
    logits, label, counted = drawn((48, 32))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        loss_sum(logits.requires_grad_(), label, counted)
    assert max(kept) == logits.numel()


def test_a_teacher_needs_no_gradient() -> None:
    logits, label, counted = drawn((12, 8))
    with torch.no_grad():
        total = loss_sum(logits.requires_grad_(), label, counted)
    assert not total.requires_grad
    torch.testing.assert_close(total, by_the_book(logits, label, counted, align_corners=True).detach())
