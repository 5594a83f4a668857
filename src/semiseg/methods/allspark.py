"""AllSpark (arXiv 2403.01818): the features of labeled images are made anew from channels of unlabeled ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from semiseg.data import Batch, Place
from semiseg.errors import ConfigError
from semiseg.methods.base import Method, StepResult
from semiseg.methods.consistency import consistency_logs, consistency_loss, predict
from semiseg.methods.context import Context
from semiseg.methods.memory import SemanticMemory, channel_classes
from semiseg.methods.settings import AllSparkConfig, SharedSettings
from semiseg.models import Segmenter
from semiseg.models.necks.allspark import AllSpark as Neck


class AllSpark(Method[AllSparkConfig]):
    """Labeled channels ask a memory of unlabeled channels, unlabeled ones ask themselves (section 3).

    The images of a chunk see each other, as those of a GPU do in the published code: in the warm-up a labeled image
    asks all unlabeled images of its chunk, and when an unlabeled image is labeled it asks all of them. So losses depend
    on how the batch is divided. Every process remembers the channels of all, in the order of the global batch; the
    published code forgets all but those of the first GPU. Padding is not learned, as nowhere here; there it is.
    """

    config_class = AllSparkConfig
    labeled_view = "photometric"
    teacher = "student"

    def __init__(self, config: AllSparkConfig, shared: SharedSettings, context: Context) -> None:
        super().__init__(config, shared, context)
        if context.model.neck != "allspark":
            raise ConfigError(
                "the method allspark trains the attention between encoder and decoder, and there is none",
                where="model.neck",
                remedy="set --model.neck allspark",
            )
        self.memory: SemanticMemory | None = None

    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Return (labeled loss + loss of the student's own labels) / 2."""
        batch = self.as_seen(batch)
        consistency, selection, unlabeled = self.shared.consistency, self.selection, batch.unlabeled
        assert unlabeled is not None, "the stream draws the views that this class asks for"
        strong_BTCHW = self.normalize(batch.labeled.images_BTCHW)
        weak_BTCHW = self.normalize(unlabeled.images_BTCHW)
        predicted_BKHW = predict(teacher, weak_BTCHW, at_levels=_neck(teacher).together)
        pseudo = self.read(predicted_BKHW, unlabeled.ignore_BHW)

        def reborn(levels_BDHW: list[Tensor]) -> list[Tensor]:
            height, width = levels_BDHW[3].shape[2:]

            def sources(unlabeled_BND: Tensor) -> Tensor:
                return self._sources(unlabeled_BND, predicted_BKHW, (height, width), batch.place)

            return _neck(student).learn(levels_BDHW, len(strong_BTCHW), sources)

        logits_BKHW = student(torch.cat((strong_BTCHW, weak_BTCHW)), at_levels=reborn)
        logits_x, logits_u = logits_BKHW.tensor_split([len(strong_BTCHW)])
        loss_x = self.labeled_loss(logits_x, batch)
        loss_u = consistency_loss(logits_u, pseudo, batch.pixels.weak, selection)
        return StepResult(
            loss=(loss_x + consistency.weight * loss_u) / 2,
            logs=consistency_logs(loss_x, loss_u, pseudo, batch.pixels.weak, selection),
            classes=self.seen_classes(pseudo, batch),
            labeled=loss_x / 2,
        )

    def _sources(self, unlabeled_BND: Tensor, predicted_BKHW: Tensor, grid: tuple[int, int], place: Place) -> Tensor:
        """Remember the unlabeled channels, and return what the labeled ones ask: those, or the memory."""
        maps_BDN = unlabeled_BND.detach().float().transpose(1, 2)
        classes_BD = channel_classes(maps_BDN, predicted_BKHW, grid)
        if self.memory is None:
            classes, (channels, places) = self.context.spec.num_classes, maps_BDN.shape[1:]
            self.memory = SemanticMemory.fresh(classes, channels, places, self.context.seed, maps_BDN.device)
        gather = self.context.gather
        order = gather(place.positions_B.to(maps_BDN.device, non_blocking=True)).argsort()
        self.memory.push(gather(maps_BDN)[order], gather(classes_BD)[order])
        warming_up = place.step < self.config.warmup_epochs * place.steps_per_epoch
        return unlabeled_BND if warming_up else self.memory.sources()

    def state(self) -> dict[str, Tensor]:
        """Return also the memory, after the first step."""
        memory = {} if self.memory is None else {"maps": self.memory.maps_KDN, "next": self.memory.next_K}
        return {**super().state(), **memory}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo `state`."""
        rest = dict(tensors)
        if "maps" in rest:
            maps_KDN, next_K = (rest.pop(name).to(self.context.device).clone() for name in ("maps", "next"))
            self.memory = SemanticMemory(maps_KDN, next_K)
        super().restore(rest)


def _neck(model: nn.Module) -> Neck:
    """Return the neck of a segmenter, which may be wrapped."""
    return next(module for module in model.modules() if isinstance(module, Neck))
