"""R13: one seed gives one run, bit for bit, for any number of loader processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from semiseg.api import TrainedRun


def test_r13_one_seed_gives_one_run_for_any_number_of_workers(
    train_tiny: Callable[..., TrainedRun],
    numbers: Callable[[Path], dict[tuple[int, str], float]],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
) -> None:
    first, *others, another_seed = (
        train_tiny(name, "--schedule.steps", "4", *overrides)
        for name, overrides in {
            "first": (),
            "again": (),
            "one worker": ("--data.workers", "1"),
            "two workers": ("--data.workers", "2"),
            "another seed": ("--seed", "1"),
        }.items()
    )
    expected = end_state(first.path)
    for run in others:
        assert numbers(run.path) == numbers(first.path)
        found = end_state(run.path)
        assert found.keys() == expected.keys()
        assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert numbers(another_seed.path)[1, "train/loss"] != numbers(first.path)[1, "train/loss"]
