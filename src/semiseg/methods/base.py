"""What every method is: one training step that turns a student, a teacher and a batch into a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from semiseg.data import Batch
from semiseg.errors import ConfigError, RunError
from semiseg.methods.class_shares import class_shares
from semiseg.methods.context import Context
from semiseg.methods.habits import ClassHabits, class_habits
from semiseg.methods.labeled_view import as_seen
from semiseg.methods.labels import PseudoLabel, Reading, Selection, opinion
from semiseg.methods.losses import labeled_loss
from semiseg.methods.settings import LabeledView, Labeler, NoSettings, SharedSettings
from semiseg.models import Segmenter

C = TypeVar("C")
_HABITS = "habits/"
"""Before the names of what is remembered of classes."""


@dataclass(frozen=True)
class StepResult:
    """What one chunk of a step gives.

    Attributes:
        loss: this chunk's share of the global batch's loss; shares add up over chunks and processes.
        logs: scalars to log, shares like the loss.
        classes: the same of each class, (K,): see `class_shares`. Empty where nothing is learned from pseudo-labels.
        labeled: the part of `loss` that comes from labels, weighed as in it; None where that is all of it.
    """

    loss: Tensor
    logs: dict[str, Tensor]
    classes: dict[str, Tensor] = field(default_factory=dict)
    labeled: Tensor | None = None


class Method(ABC, Generic[C]):
    """One way to learn from labeled and unlabeled images.

    Attributes:
        config_class: the dataclass of the method's own settings; they are the section of the method's name.
        learns_unlabeled: whether unlabeled images are used.
        learns_taught: whether labels of a trained teacher can take the place of the own teacher's.
        warms_up: whether a step without unlabeled images learns from labels alone, for `consistency.warm_up`.
        views: strong views drawn of each unlabeled image.
        labeled_view: how labeled images are seen, where the recipe's `loss.view` does not say.
        second_unlabeled: whether CutMix pastes from a second, independently drawn unlabeled batch.
        labeled_factor: labeled samples in a step for each one of the recipe's batch.
        teacher: who labels unlabeled images, where the recipe's `consistency.teacher` does not say: the exponential
            moving average (EMA) of the student, or the student itself.
    """

    config_class: ClassVar[type] = NoSettings
    learns_unlabeled: ClassVar[bool] = True
    learns_taught: ClassVar[bool] = False
    warms_up: ClassVar[bool] = False
    views: ClassVar[int] = 0
    labeled_view: ClassVar[LabeledView] = "weak"
    second_unlabeled: ClassVar[bool] = False
    labeled_factor: ClassVar[int] = 1
    teacher: ClassVar[Labeler] = "ema"

    def __init__(self, config: C, shared: SharedSettings, context: Context) -> None:
        """Keep the settings; a subclass also builds what it needs and cannot go without.

        Args:
            config: the method's own settings.
            shared: the settings that methods share.
            context: the run.

        Raises:
            SemisegError: the run cannot be trained so; nothing has been written yet.
        """
        self.config, self.shared, self.context = config, shared, context
        if context.model.evidence and shared.loss.labeled == "ohem":
            raise ConfigError(
                "hard pixels are told by their cross-entropy, and the loss is evidential",
                where="loss.labeled and model.evidence",
                remedy="set --loss.labeled ce, or leave --model.evidence out",
            )
        if self.learns_unlabeled and not self.warms_up and shared.consistency.warm_up > 0:
            raise ConfigError(
                "this method has no step from labels alone, so the setting would change nothing",
                where=f"consistency.warm_up {shared.consistency.warm_up:g}",
                expected="0; only methods that learn each image by itself, as FixMatch and UniMatch V2, warm up so",
                remedy="leave --consistency.warm_up out, or take --method unimatch_v2",
            )
        self.normalize, self.ignore_value = context.normalize, context.spec.ignore_value
        wanted = self.learns_unlabeled and shared.consistency.by_class
        self.habits = ClassHabits(context.spec.num_classes, context.device) if wanted else None

    @property
    def student_labels(self) -> bool:
        """Whether the student itself labels the unlabeled images."""
        return (self.shared.consistency.teacher or self.teacher) == "student"

    @property
    def ema_teacher(self) -> bool:
        """Whether the loop keeps an EMA of the student: the teacher, or only to be evaluated."""
        return self.learns_unlabeled and (self.shared.consistency.average or not self.student_labels)

    @property
    def sees_labeled(self) -> LabeledView:
        """How labeled images are seen."""
        return self.shared.loss.view or self.labeled_view

    def as_seen(self, batch: Batch) -> Batch:
        """Return the batch with its labeled crops as the student sees them; each step begins with it."""
        return as_seen(batch, self.sees_labeled)

    @property
    def selection(self) -> Selection:
        """Which pseudo-labels are learned, in the step that runs."""
        config = self.shared.consistency
        threshold: float | Tensor = config.threshold
        if self.habits is not None and config.class_thresholds:
            threshold = self.habits.thresholds(config.threshold)
        return Selection(threshold, config.pixels, self.context.model.evidence)

    @property
    def read(self) -> Reading:
        """How the logits of whoever labels are read, in the step that runs."""
        strength = self.shared.consistency.alignment
        correction_K = None if self.habits is None or strength == 0 else self.habits.correction(strength)
        return partial(opinion, correction_K=correction_K, evidence=self.context.model.evidence)

    def labeled_loss(self, logits_BKHW: Tensor, batch: Batch, *, align_corners: bool = True) -> Tensor:
        """Return the chunk's share of the labeled loss; smaller logits are enlarged to the size of the masks."""
        config, evidence = self.shared.loss, self.context.model.evidence
        return labeled_loss(
            logits_BKHW, batch, config, self.ignore_value, align_corners=align_corners, evidence=evidence
        )

    def seen_classes(self, pseudo: PseudoLabel, batch: Batch) -> dict[str, Tensor]:
        """Return what a chunk shows of each class, for `StepResult.classes`.

        Args:
            pseudo: the labels of the weak view.
            batch: the chunk.
        """
        shares = class_shares(pseudo, batch, self.selection, self.context.spec)
        if self.habits is None:
            return shares
        return {**shares, **class_habits(pseudo, batch.pixels.weak, self.context.spec.num_classes)}

    def remember(self, classes: Mapping[str, Tensor]) -> None:
        """Learn from what a step has shown of each class; all processes call it at once, after all chunks.

        Args:
            classes: the `classes` of the step's chunks in this process, added up.
        """
        if self.habits is not None and classes:
            self.habits.take(classes, self.context.gather)

    def labeled_step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Return the labeled loss alone; `loss_s` and `confident` are logged as nothing where others have them."""
        logits = student(self.normalize(batch.labeled.images_BTCHW), enlarge=False)
        corners = teacher.decoder.align_corners
        loss = self.labeled_loss(logits, batch, align_corners=corners)
        nothing = dict.fromkeys(("loss_s", "confident"), torch.zeros_like(loss)) if self.learns_unlabeled else {}
        return StepResult(loss=loss, logs={"loss_x": loss.detach(), **nothing})

    @abstractmethod
    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Return the loss of one chunk.

        Args:
            student: the segmenter that learns, possibly wrapped for distributed training.
            teacher: the segmenter that labels the unlabeled images: the EMA teacher, or the student unwrapped.
            batch: the chunk, on the device, with the global batch's pixel counts.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what the method itself remembers between steps, for a checkpoint: the same in all processes."""
        return {} if self.habits is None else {_HABITS + name: tensor for name, tensor in self.habits.state().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo `state`; the tensors may lie on another device.

        Raises:
            RunError: they are not of this method.
        """
        rest = {name: tensor for name, tensor in tensors.items() if self.habits is None or not name.startswith(_HABITS)}
        if self.habits is not None:
            self.habits.restore({name.removeprefix(_HABITS): tensors[name] for name in tensors.keys() - rest.keys()})
        if rest:
            raise RunError(
                f"the checkpoint holds a state that {type(self).__name__} does not have",
                where=", ".join(rest),
                remedy="resume with the method of the run",
            )
