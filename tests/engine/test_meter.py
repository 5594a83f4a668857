from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semiseg.engine.distributed import Processes
from semiseg.engine.meter import Meter

ALONE = Processes(0, 1, torch.device("cpu"))


class Threefold(Processes):
    """The first of three processes that all hold the same."""

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor * self.count


def values(**named: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in named.items()}


def test_a_reading_is_the_mean_over_the_steps_since_the_last() -> None:
    meter = Meter()
    for loss in (1.0, 2.0, 6.0):
        meter.add(values(loss=loss, confident=0.5))
    assert meter.read(ALONE) == {"loss": 3.0, "confident": 0.5}
    meter.add(values(loss=10.0))
    assert meter.read(ALONE) == {"loss": 10.0}
    assert meter.read(ALONE) == {}


def test_processes_hold_shares_that_add_up() -> None:
    meter = Meter()
    for loss in (1.0, 2.0):
        meter.add(values(loss=loss))
    assert meter.read(Threefold(0, 3, torch.device("cpu"))) == {"loss": 4.5}


def test_many_small_values_are_not_lost_in_a_large_sum() -> None:
    meter = Meter()
    meter.add(values(loss=2.0**24))
    for _ in range(8):
        meter.add(values(loss=1.0))
    assert meter.read(ALONE)["loss"] == pytest.approx((2**24 + 8) / 9, rel=1e-12)


def test_a_meter_keeps_no_graph_and_no_hold_of_what_it_was_given() -> None:
    meter, loss = Meter(), torch.ones((), requires_grad=True)
    meter.add({"loss": loss * 2})
    value = torch.tensor(3.0, dtype=torch.float64)
    meter.add({"loss": value})
    value.fill_(100.0)
    assert not meter.sums["loss"].requires_grad
    assert meter.read(ALONE) == {"loss": 2.5}


def test_a_restored_meter_reads_as_if_nothing_had_happened() -> None:
    threefold, others = Threefold(0, 3, torch.device("cpu")), Processes(1, 3, torch.device("cpu"))
    before = Meter()
    for loss in (1.0, 2.0):
        before.add(values(loss=loss))
    saved = before.tensors(threefold)
    assert saved["loss"].item() == 9.0

    main, other = Meter(), Meter()
    main.restore(before.steps, saved, ALONE)
    other.restore(before.steps, saved, others)
    assert (main.sums["loss"].item(), other.sums["loss"].item()) == (9.0, 0.0), "the sums of all would count twice"
    main.add(values(loss=3.0))
    assert main.read(ALONE) == {"loss": 4.0}
