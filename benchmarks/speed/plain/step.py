"""The training step of UniMatch V2 as its paper tells it, line by line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from benchmarks.speed.plain.segmenter import PlainSegmenter
from torch import Tensor

from semiseg.augment import apply_photometric
from semiseg.config import Config
from semiseg.data import Batch
from semiseg.methods.dropout import channel_masks
from semiseg.models import Segmenter

IGNORED = 255


@dataclass(frozen=True)
class PlainBatch:
    """What a published loader hands to a step: normalised float32 images, masks, boxes as maps.

    Attributes:
        labeled_BCHW: labeled crops.
        mask_BHW: int64, 255 where ignored.
        weak_BCHW: unlabeled crops.
        ignore_BHW: int64, 255 in the padding of unlabeled crops, else 0.
        strong_BCHW: two photometric views.
        inside_BHW: where CutMix pastes, float 0 or 1, for each view.
        keep_BD: channel multipliers of each view; None: drawn in the step.
    """

    labeled_BCHW: Tensor
    mask_BHW: Tensor
    weak_BCHW: Tensor
    ignore_BHW: Tensor
    strong_BCHW: tuple[Tensor, Tensor]
    inside_BHW: tuple[Tensor, Tensor]
    keep_BD: tuple[Tensor, Tensor] | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> PlainBatch:
        """Return the batch with `function` applied to each of its tensors."""
        changed = {
            name: function(value) if isinstance(value, Tensor) else value and tuple(map(function, value))
            for name, value in vars(self).items()
        }
        return PlainBatch(**changed)

    def to(self, device: torch.device) -> PlainBatch:
        """Copy to a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))


def same_data(batch: Batch, student: Segmenter) -> PlainBatch:
    """Return a batch of ours as a published loader would have made it: the same pixels, views, boxes and channels."""
    unlabeled = batch.unlabeled
    assert unlabeled is not None, "UniMatch V2 learns unlabeled images"
    weak_BCHW = unlabeled.images_BTCHW[:, 0].contiguous()
    view1, view2 = (
        student.normalize(apply_photometric(unlabeled.images_BTCHW, view.photometric)[:, 0]) for view in unlabeled.views
    )
    inside1, inside2 = (inside_maps(view.box_B4, weak_BCHW.shape[-1]) for view in unlabeled.views)
    keep1, keep2 = channel_masks("complementary", batch.place, student.width, views=2, device=weak_BCHW.device)
    assert keep1 is not None, "the method drops channels"
    assert keep2 is not None, "the method drops channels"
    return PlainBatch(
        labeled_BCHW=student.normalize(batch.labeled.images_BTCHW[:, 0].contiguous()),
        mask_BHW=batch.labeled.mask_BHW.long(),
        weak_BCHW=student.normalize(weak_BCHW),
        ignore_BHW=unlabeled.ignore_BHW.long() * IGNORED,
        strong_BCHW=(view1, view2),
        inside_BHW=(inside1, inside2),
        keep_BD=(keep1, keep2),
    )


def inside_maps(boxes_B4: Tensor, size: int) -> Tensor:
    """Return boxes x0, y0, x1, y1 as maps (B, size, size) of 0 and 1."""
    maps = torch.zeros(len(boxes_B4), size, size)
    for inside_HW, (x0, y0, x1, y1) in zip(maps, boxes_B4.tolist(), strict=True):
        inside_HW[y0:y1, x0:x1] = 1
    return maps.to(boxes_B4.device)


class PlainTraining:
    """A student, its average and its optimizer, and the step that changes them.

    Args:
        student: whose weights are taken.
        config: of the run: rates, threshold, decay, batch.
        steps: length of the schedule.
    """

    def __init__(self, student: Segmenter, config: Config, steps: int) -> None:
        self.student = PlainSegmenter(student).train()
        self.teacher = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.threshold, self.decay, self.steps, self.done = (
            config.consistency.threshold, config.schedule.ema_decay, steps, 0
        )  # fmt: skip
        settings = config.optimizer
        rate = settings.lr * (config.schedule.batch / settings.lr_batch if settings.lr_batch else 1.0)
        self.rates = (rate, rate * settings.decoder_multiplier)
        parts = zip((self.student.encoder, self.student.decoder), self.rates, strict=True)
        groups = [{"params": [p for p in part.parameters() if p.requires_grad], "lr": lr} for part, lr in parts]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=settings.weight_decay)
        self.device = student.mean.device

    def step(self, batch: PlainBatch) -> dict[str, float]:
        """Train on a batch and return its scalars."""
        batch = batch.to(self.device)
        with torch.no_grad():
            probability_BKHW = self.teacher(batch.weak_BCHW).softmax(dim=1)
            confidence_BHW, label_BHW = probability_BKHW.max(dim=1)
        views = [
            self._mixed(view, inside, label_BHW, confidence_BHW, batch.ignore_BHW)
            for view, inside in zip(batch.strong_BCHW, batch.inside_BHW, strict=True)
        ]
        keep_BD = torch.cat(batch.keep_BD or self._drawn(len(label_BHW), batch.weak_BCHW))
        self.student.train()
        logits_x = self.student(batch.labeled_BCHW)
        logits = self.student(torch.cat([view[0] for view in views]), keep_BD).chunk(2)
        loss_x = F.cross_entropy(logits_x, batch.mask_BHW, ignore_index=IGNORED)
        loss_1, loss_2 = (self._unlabeled_loss(said, *view[1:]) for said, view in zip(logits, views, strict=True))
        loss_s = (loss_1 + loss_2) / 2
        loss = (loss_x + loss_s) / 2
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        valid_BHW = batch.ignore_BHW != IGNORED
        confident = ((confidence_BHW >= self.threshold) & valid_BHW).sum().item() / valid_BHW.sum().item()
        self._after()
        return {"loss": loss.item(), "loss_x": loss_x.item(), "loss_s": loss_s.item(), "confident": confident}

    def _mixed(self, view_BCHW: Tensor, inside_BHW: Tensor, *maps_BHW: Tensor) -> list[Tensor]:
        """Paste the batch in reverse order where the maps are 1, by boolean indexing."""
        chosen_BHW = inside_BHW == 1
        mixed = []
        for tensor in (view_BCHW, *maps_BHW):
            own = tensor.clone()
            chosen = chosen_BHW[:, None].expand(own.shape) if own.ndim == 4 else chosen_BHW
            own[chosen] = tensor.flip(0)[chosen]
            mixed.append(own)
        return mixed

    def _unlabeled_loss(self, logits: Tensor, label: Tensor, confidence: Tensor, ignore: Tensor) -> Tensor:
        """Cross-entropy of confident pixels over the number of pixels that are not padding."""
        valid = ignore != IGNORED
        loss_BHW = F.cross_entropy(logits, label, reduction="none") * ((confidence >= self.threshold) & valid)
        return loss_BHW.sum() / max(valid.sum().item(), 1)

    def _drawn(self, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Draw complementary channels on the CPU; a random half of the images keeps all (section 3.3)."""
        first = 2 * torch.randint(0, 2, (batch, self.student.width)).float()
        second = 2 - first
        for index in torch.randperm(batch)[: batch // 2]:
            first[index] = second[index] = 1
        return first.to(like.device), second.to(like.device)

    def _after(self) -> None:
        """Set the rate by the published schedule, and average parameter by parameter."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * (1 - self.done / self.steps) ** 0.9
        decay = min(1 - 1 / (self.done + 1), self.decay)
        with torch.no_grad():
            for kept, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                kept.copy_(kept * decay + new * (1 - decay))
            for kept, new in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
                if kept.is_floating_point():
                    kept.copy_(kept * decay + new * (1 - decay))
        self.done += 1
