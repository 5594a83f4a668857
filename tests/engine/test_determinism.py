from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from semiseg.api import TrainedRun
from semiseg.engine.determinism import deterministic_sums
from semiseg.methods import StepResult
from semiseg.methods.unimatch_v2 import UniMatchV2


@pytest.mark.parametrize("wanted", [True, False])
def test_algorithms_are_deterministic_as_wanted_and_then_as_before(wanted: bool) -> None:
    with deterministic_sums(wanted):
        assert torch.are_deterministic_algorithms_enabled() == wanted
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_training_asks_for_them(train_tiny: Callable[..., TrainedRun], monkeypatch: pytest.MonkeyPatch) -> None:
    step, seen = UniMatchV2.step, list[bool]()

    def watched(self: UniMatchV2, *arguments: object) -> StepResult:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(UniMatchV2, "step", watched)
    train_tiny("x", "--deterministic", "true", "--schedule.steps", "1")
    train_tiny("y", "--schedule.steps", "1")
    assert seen == [True, False]
