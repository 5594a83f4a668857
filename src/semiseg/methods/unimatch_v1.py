"""UniMatch V1 (arXiv 2208.09910): two strong views and a stream of perturbed features; the student labels."""

from __future__ import annotations

from torch import nn

from semiseg.data import Batch
from semiseg.methods.base import Method, StepResult
from semiseg.methods.consistency import consistency_logs, consistency_loss
from semiseg.methods.settings import NoSettings
from semiseg.methods.streams import forward_streams, stream_loss
from semiseg.models import Segmenter


class UniMatchV1(Method[NoSettings]):
    """Features of the weak view with dropped channels, and two strong views, learn the labels of the weak view.

    CutMix pastes from a second unlabeled batch, which the student labels in evaluation mode; the weak view is labeled
    by the very pass that learns. An average as the teacher (UniMatch V2, table 5) labels both.
    """

    views = 2
    second_unlabeled = True
    teacher = "student"

    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Return (labeled loss + loss of both strong views / 4 each + loss of the features / 2) / 2 (section 3.4)."""
        consistency, selection, batch = self.shared.consistency, self.selection, self.as_seen(batch)
        seen = forward_streams(
            student, teacher, batch, self.normalize, student_labels=self.student_labels, read=self.read
        )
        loss_x = self.labeled_loss(seen.logits_x_BKHW, batch)
        loss_fp, loss_1, loss_2 = (
            consistency_loss(stream.logits_BKHW, stream.pseudo, stream.pixels, selection)
            for stream in (seen.features, *seen.strong)
        )
        loss_s = stream_loss(loss_fp, loss_1, loss_2)
        logs = consistency_logs(loss_x, loss_s, seen.weak, batch.pixels.weak, selection)
        return StepResult(
            loss=(loss_x + consistency.weight * loss_s) / 2,
            logs={**logs, "loss_fp": loss_fp.detach()},
            classes=self.seen_classes(seen.weak, batch),
            labeled=loss_x / 2,
        )
