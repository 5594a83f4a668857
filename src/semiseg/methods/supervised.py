"""Labeled-only training, the baseline of every table."""

from __future__ import annotations

from torch import nn

from semiseg.data import Batch
from semiseg.methods.base import Method, StepResult
from semiseg.methods.settings import NoSettings
from semiseg.models import Segmenter


class Supervised(Method[NoSettings]):
    """Cross-entropy (or OHEM) on labeled crops; the batch is doubled, as published."""

    learns_unlabeled = False
    labeled_factor = 2

    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Return the labeled loss; the teacher labels nothing."""
        return self.labeled_step(student, teacher, self.as_seen(batch))
