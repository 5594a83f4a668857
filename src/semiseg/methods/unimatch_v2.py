"""UniMatch V2 (arXiv 2410.10777): two strong views, complementary channel dropout, an EMA teacher."""

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
from semiseg.methods.settings import UniMatchV2Config
from semiseg.models import Segmenter


class UniMatchV2(Method[UniMatchV2Config]):
    """Two strong views of each unlabeled image, complementary channel dropout, an EMA teacher (section 3)."""

    config_class = UniMatchV2Config
    learns_taught = True
    warms_up = True
    views = 2

    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Return (labeled loss + mean consistency loss of the two views) / 2."""
        batch = self.as_seen(batch)
        consistency, selection, unlabeled = self.shared.consistency, self.selection, batch.unlabeled
        if unlabeled is None:
            return self.labeled_step(student, teacher, batch)
        weak_BTCHW = self.normalize(unlabeled.images_BTCHW)
        pseudo = labels_of(teacher, weak_BTCHW, unlabeled, self.read)
        view1, view2 = (strong_view(unlabeled, pseudo, draws, self.normalize) for draws in unlabeled.views)
        width = teacher.width if self.config.dropout_at == "encoder" else teacher.decoder.features
        keep1_BD, keep2_BD = channel_masks(self.config.dropout, batch.place, width, views=2, device=weak_BTCHW.device)

        corners = teacher.decoder.align_corners
        logits_x, logits_1, logits_2 = forward_together(
            student,
            (self.normalize(batch.labeled.images_BTCHW), None),
            (view1.images_BTCHW, keep1_BD),
            (view2.images_BTCHW, keep2_BD),
            keep_at=self.config.dropout_at,
            enlarge=False,
        )
        loss_x = self.labeled_loss(logits_x, batch, align_corners=corners)
        loss_1 = consistency_loss(logits_1, view1.pseudo, batch.pixels.views[0], selection, align_corners=corners)
        loss_2 = consistency_loss(logits_2, view2.pseudo, batch.pixels.views[1], selection, align_corners=corners)
        loss_s = (loss_1 + loss_2) / 2
        return StepResult(
            loss=(loss_x + consistency.weight * loss_s) / 2,
            logs=consistency_logs(loss_x, loss_s, pseudo, batch.pixels.weak, selection),
            classes=self.seen_classes(pseudo, batch),
            labeled=loss_x / 2,
        )
