from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from semiseg.engine.conflict import Conflict
from semiseg.engine.distributed import Processes
from semiseg.methods import StepResult

ALONE = Processes(0, 1, torch.device("cpu"))


def measured(weight: float, *, chunks: int = 1) -> tuple[Tensor | None, Tensor, list[Tensor], list[Tensor]]:
    """Return the measure, the gradient of both losses together, and those of each, of a small network."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x, s = torch.randn(2, chunks, 5, 4, dtype=torch.float64)
    conflict = Conflict(model, ALONE)
    apart: list[list[Tensor]] = [[], []]
    for place in range(chunks):
        loss_x, loss_s = model(x[place]).square().mean(), weight * (model(s[place]) - 1).square().mean()
        for found, loss in zip(apart, (loss_x, loss_s), strict=True):
            found.append(
                torch.cat([g.flatten() for g in torch.autograd.grad(loss, model.parameters(), retain_graph=True)])
            )
        conflict.take(StepResult(loss_x + loss_s, {}, labeled=loss_x))
        (loss_x + loss_s).backward()
    return conflict.cosine(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), *apart


@pytest.mark.parametrize("chunks", [1, 3])
def test_it_is_the_cosine_of_the_gradients_of_both_losses(chunks: int) -> None:
    cosine, whole, of_x, of_s = measured(0.3, chunks=chunks)
    x, s = (torch.stack(parts).sum(dim=0).numpy() for parts in (of_x, of_s))
    assert cosine is not None
    assert cosine.item() == pytest.approx((x @ s) / ((x @ x) * (s @ s)) ** 0.5, rel=1e-9)
    torch.testing.assert_close(whole, torch.from_numpy(x + s))


def test_where_pseudo_labels_teach_nothing_there_is_no_conflict() -> None:
    cosine, *_ = measured(0.0)
    assert cosine is not None
    assert cosine.item() == 0
    conflict = Conflict(nn.Linear(2, 2), ALONE)
    conflict.take(StepResult(torch.zeros(()), {}))
    assert conflict.cosine() is None


def test_parameters_that_a_loss_does_not_reach_count_as_zero() -> None:
    model = nn.ModuleList([nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)])
    conflict = Conflict(model, ALONE)
    loss_x, loss_s = (part(torch.ones(1, 2)).sum() for part in model)
    conflict.take(StepResult(loss_x + loss_s, {}, labeled=loss_x))
    (loss_x + loss_s).backward()
    cosine = conflict.cosine()
    assert cosine is not None
    assert cosine.item() == 0
