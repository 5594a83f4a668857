from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg.api import TrainedRun
from semiseg.errors import ConfigError

Train = Callable[..., TrainedRun]


@pytest.mark.parametrize("method", ["fixmatch", "unimatch_v2"])
def test_a_run_may_learn_from_labels_alone_at_first(method: str, train_tiny: Train) -> None:
    """Until then it is labeled-only training with the same crops, bit by bit; then pseudo-labels come in."""
    words = ["--method", method, "--consistency.threshold", "0.01", "--schedule.steps", "4"]
    run = train_tiny("warm", *words, "--consistency.warm_up", "0.5").path
    never = train_tiny("never", *words, "--consistency.warm_up", "1").path

    def logged(run: Path, name: str) -> list[float]:
        lines = (run / "metrics.csv").read_text().splitlines()
        return [float(line.rsplit(",", 1)[1]) for line in lines if f",train/{name}," in line]

    assert logged(run, "confident") == pytest.approx([0, 0, 1, 1])
    assert [value > 0 for value in logged(run, "loss_s")] == [False, False, True, True]
    assert logged(run, "loss")[:2] == logged(run, "loss_x")[:2] == logged(never, "loss_x")[:2]
    assert logged(run, "loss_x")[3] != logged(never, "loss_x")[3]


def test_a_method_that_cannot_warm_up_says_so(train_tiny: Train) -> None:
    with pytest.raises(ConfigError, match=r"no step from labels alone[^\n]*\n  where:    consistency\.warm_up 0\.5"):
        train_tiny("cold", "--method", "unimatch_v1", "--consistency.warm_up", "0.5")
