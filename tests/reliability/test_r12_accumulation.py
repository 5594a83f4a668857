"""R12: a batch that is worked on in parts has the losses of one pass; gradients: tests/methods/test_every_method.py.

In float64: tests/support/float64.py says why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from float64 import in_float64  # tests/support

from semiseg.api import TrainedRun

__all__ = ["in_float64"]  # a fixture
pytestmark = pytest.mark.usefixtures("in_float64")

METHODS = ("supervised", "fixmatch", "unimatch_v1", "unimatch_v2")
LEARNS_WITHOUT_LABELS = {"loss", "loss_x", "loss_s", "confident"}
LOSSES = {"supervised": {"loss", "loss_x"}, "unimatch_v1": LEARNS_WITHOUT_LABELS | {"loss_fp"}}


@pytest.mark.parametrize("method", METHODS)
def test_r12_a_batch_in_parts_gives_the_losses_of_one_pass(
    train_tiny: Callable[..., TrainedRun], numbers: Callable[[Path], dict[tuple[int, str], float]], method: str
) -> None:
    """Padding makes the parts unequal: the mean of means would not be the mean."""
    overrides = ("--method", method, "--schedule.batch", "4", "--schedule.steps", "6", "--data.scale", "[0.3, 1.0]")
    whole = numbers(train_tiny("whole", *overrides).path)
    parts = numbers(train_tiny("parts", *overrides, "--schedule.per_device", "2").path)
    assert parts.keys() == whole.keys()
    names = {f"train/{name}" for name in LOSSES.get(method, LEARNS_WITHOUT_LABELS)}
    for step, name in whole:
        if name in names:
            assert parts[step, name] == pytest.approx(whole[step, name], abs=1e-9), (step, name)
    if method != "supervised":
        assert max(whole[step, "train/loss_s"] for step in range(1, 7)) > 0.1, "no label was confident"
