"""SemiVL (arXiv 2311.16241): the streams of UniMatch V1, guided by what a frozen CLIP makes of the classes' texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semiseg.data import Batch
from semiseg.errors import ConfigError
from semiseg.methods.base import Method, StepResult
from semiseg.methods.consistency import consistency_logs, consistency_loss
from semiseg.methods.context import Context
from semiseg.methods.guidance import build_guide
from semiseg.methods.labels import Selection
from semiseg.methods.settings import SemiVLConfig, SharedSettings
from semiseg.methods.streams import Streams, forward_streams, stream_loss
from semiseg.models import Segmenter


class SemiVL(Method[SemiVLConfig]):
    """UniMatch V1 with a language-guided decoder and dense CLIP guidance (section 3).

    The decoder and what of the encoder learns are the model's: `--model.decoder semivl --model.trains attention`.
    """

    config_class = SemiVLConfig
    views = 2
    second_unlabeled = True
    teacher = "student"

    def __init__(self, config: SemiVLConfig, shared: SharedSettings, context: Context) -> None:
        """Build the guide, too.

        Raises:
            ConfigError: pairs of frames, or an encoder that no text can be compared with.
            ModelError: weights or text embeddings that cannot be had.
        """
        super().__init__(config, shared, context)
        if len(context.spec.frames) > 1:
            raise ConfigError(
                "semivl has no word for a change: it tells what single images show",
                where=f"data set {context.spec.name}",
                remedy="train pairs with --method unimatch_v2",
            )
        self.guide = build_guide(context) if config.guidance > 0 else None

    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Return (labeled loss + unlabeled loss) / 2 + the guidance's weight at this time x its loss.

        Both of the latter are of two strong views, each 1/4, and of the perturbed features, 1/2.
        """
        consistency, selection, batch = self.shared.consistency, self.selection, self.as_seen(batch)
        seen = forward_streams(
            student, teacher, batch, self.normalize, student_labels=self.student_labels, read=self.read
        )
        loss_x = self.labeled_loss(seen.logits_x_BKHW, batch)
        loss_s = stream_loss(
            *(
                consistency_loss(stream.logits_BKHW, stream.pseudo, stream.pixels, selection)
                for stream in (seen.features, *seen.strong)
            )
        )
        loss = (loss_x + consistency.weight * loss_s) / 2
        logs = consistency_logs(loss_x, loss_s, seen.weak, batch.pixels.weak, selection)
        if self.guide is not None:
            weight = self.config.guidance * (1 - batch.place.step / batch.place.steps)
            loss_g = stream_loss(*self._guided_losses(seen, batch))
            loss = loss + weight * loss_g
            logs["loss_g"] = weight * loss_g.detach()
        classes = self.seen_classes(seen.weak, batch)
        return StepResult(loss=loss, logs=logs, classes=classes, labeled=loss_x / 2)

    def _guided_losses(self, seen: Streams, batch: Batch) -> list[Tensor]:
        """Return each stream's loss against the guide's labels, divided by all pixels of the batch, as published."""
        assert self.guide is not None
        assert batch.unlabeled is not None
        assert batch.second is not None
        own, pasted = (
            self.guide.label(self.normalize(crops.images_BTCHW), crops.ignore_BHW)
            for crops in (batch.unlabeled, batch.second)
        )
        height, width = own.label_BHW.shape[1:]
        pixels = torch.full_like(batch.pixels.weak, batch.place.batch * height * width)
        guided = Selection(self.config.guidance_threshold, evidence=self.context.model.evidence)
        losses = []
        for stream in (seen.features, *seen.strong):
            pseudo = own if stream.box_B4 is None else own.mixed(stream.box_B4, pasted)
            losses.append(consistency_loss(stream.logits_BKHW, pseudo, pixels, guided))
        return losses
