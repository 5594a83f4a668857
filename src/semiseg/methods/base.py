"""What every method is: one training step that turns a student, a teacher and a batch into a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from semiseg.data import Batch
from semiseg.models import Segmenter

if TYPE_CHECKING:
    from semiseg.methods.settings import MethodSettings

Normalize = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StepResult:
    """What one chunk of a step gives.

    Attributes:
        loss: this chunk's share of the global batch's loss; shares add up over chunks and processes.
        logs: scalars to log, shares like the loss.
    """

    loss: Tensor
    logs: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """The settings of a method that has none of its own."""


class Method(ABC):
    """One way to learn from labeled and unlabeled images.

    Attributes:
        config_class: the dataclass of the method's own settings; they are the section of the method's name.
        views: strong views drawn of each unlabeled image; 0 means that unlabeled images are not used.
        labeled_factor: labeled samples in a step for each one of the recipe's batch.
        ema_teacher: whether the loop keeps an exponential moving average of the student as the teacher.
    """

    config_class: ClassVar[type] = NoSettings
    views: ClassVar[int] = 0
    labeled_factor: ClassVar[int] = 1

    def __init__(self, settings: MethodSettings, normalize: Normalize, ignore_value: int) -> None:
        """Keep the settings.

        Args:
            settings: settings of all methods.
            normalize: turns `images_BTCHW`, uint8 or float in [0, 1], into the encoder's input.
            ignore_value: the mask value that is not learned.
        """
        self.settings, self.normalize, self.ignore_value = settings, normalize, ignore_value

    @property
    def ema_teacher(self) -> bool:
        """Whether the loop keeps an EMA teacher."""
        config = self.settings.consistency
        return self.views > 0 and (config.teacher == "ema" or config.average)

    @property
    def student_labels(self) -> bool:
        """Whether the student itself labels the unlabeled images."""
        return self.settings.consistency.teacher == "student"

    @abstractmethod
    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Return the loss of one chunk.

        Args:
            student: the segmenter that learns, possibly wrapped for distributed training.
            teacher: the segmenter that labels the unlabeled images: the EMA teacher, or the student unwrapped.
            batch: the chunk, on the device, with the global batch's pixel counts.
        """
