"""FixMatch (arXiv 2001.07685) for segmentation, with an EMA teacher as in the tables of UniMatch V2."""

from __future__ import annotations

from torch import nn

from semiseg.data import Batch
from semiseg.methods.base import Method, StepResult
from semiseg.methods.consistency import (
    consistency_logs,
    consistency_loss,
    forward_together,
    labels_of,
    strong_view,
)
from semiseg.methods.dropout import channel_masks
from semiseg.methods.settings import FixMatchConfig
from semiseg.models import Segmenter


class FixMatch(Method[FixMatchConfig]):
    """One strong view of each unlabeled image learns the teacher's confident labels of the weak view."""

    config_class = FixMatchConfig
    learns_taught = True
    warms_up = True
    views = 1

    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Return (labeled loss + consistency loss) / 2."""
        batch = self.as_seen(batch)
        consistency, selection, unlabeled = self.shared.consistency, self.selection, batch.unlabeled
        if unlabeled is None:
            return self.labeled_step(student, teacher, batch)
        weak_BTCHW = self.normalize(unlabeled.images_BTCHW)
        pseudo = labels_of(teacher, weak_BTCHW, unlabeled, self.read)
        view = strong_view(unlabeled, pseudo, unlabeled.views[0], self.normalize)
        (keep_BD,) = channel_masks(self.config.dropout, batch.place, teacher.width, views=1, device=weak_BTCHW.device)

        corners = teacher.decoder.align_corners
        logits_x, logits_s = forward_together(
            student,
            (self.normalize(batch.labeled.images_BTCHW), None),
            (view.images_BTCHW, keep_BD),
            together=True,
            enlarge=False,
        )
        loss_x = self.labeled_loss(logits_x, batch, align_corners=corners)
        loss_s = consistency_loss(logits_s, view.pseudo, batch.pixels.views[0], selection, align_corners=corners)
        return StepResult(
            loss=(loss_x + consistency.weight * loss_s) / 2,
            logs=consistency_logs(loss_x, loss_s, pseudo, batch.pixels.weak, selection),
            classes=self.seen_classes(pseudo, batch),
            labeled=loss_x / 2,
        )
