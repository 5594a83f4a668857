"""R23: five hundred steps take no more memory than some, and no more handles of files."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from semiseg.api import TrainedRun
from semiseg.data import Batch
from semiseg.methods.unimatch_v2 import UniMatchV2
from semiseg.models import Segmenter

WARM, STEPS = 150, 650


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's count of pages")
def test_r23_memory_and_handles_do_not_grow(
    train_tiny: Callable[..., TrainedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: dict[int, tuple[int, int]] = {}
    step = UniMatchV2.step

    def watched(self: UniMatchV2, student: nn.Module, teacher: Segmenter, batch: Batch) -> Any:
        if batch.place.step in (WARM, STEPS - 1):
            gc.collect()
            held[batch.place.step] = resident(), len(list(Path("/proc/self/fd").iterdir()))
        return step(self, student, teacher, batch)

    monkeypatch.setattr(UniMatchV2, "step", watched)
    train_tiny(
        "x",
        *("--schedule.steps", str(STEPS), "--schedule.log_every", "10", "--schedule.checkpoint_every", "50"),
        *("--data.crop", "16", "--evaluation.every", "50"),
    )
    (before, handles_before), (after, handles_after) = held[WARM], held[STEPS - 1]
    assert handles_after == handles_before
    assert after - before < 5 * 2**20, f"{(after - before) / 2**20:.1f} MiB in 500 steps"
