"""The settings of methods, apart from the methods: they are read, checked and explained without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from semiseg.errors import require_setting

Labeler = Literal["ema", "student"]
LabeledView = Literal["weak", "photometric", "strong"]
Pixels = Literal["confident", "by_share", "by_confidence"]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The loss of labeled images."""

    labeled: Literal["ce", "ohem"] = "ce"
    """`ce`: cross-entropy; `ohem`: cross-entropy of hard pixels (published for Cityscapes)."""
    ohem_threshold: float = 0.7
    """OHEM: a pixel is hard if its true class has at most this probability."""
    ohem_min_kept: int = 100_000
    """OHEM: at least this many pixels for each image of a chunk are kept, the hardest of the chunk first (published:
    200,000 of a GPU's two images)."""
    view: LabeledView | None = None
    """How the student sees labeled crops: resized and cropped (`weak`), with the colour changes of a strong view
    (`photometric`), or with its CutMix too (`strong`), as `strong` has them. Default: as the method was published."""


@dataclass(frozen=True, kw_only=True)
class ConsistencyConfig:
    """Learning from the teacher's labels."""

    threshold: float = 0.95
    """Least confidence of a pseudo-label that is learned, 0 to 1 (published 0.95; figure 5 varies it)."""
    pixels: Pixels = "confident"
    """Which pixels are learned: those of at least the threshold (`confident`, published), or all, where a crop weighs
    as much as its share of such pixels (`by_share`, DAFormer's rule, arXiv 2111.14887), or as its mean confidence
    (`by_confidence`, published by SemiVL for Cityscapes)."""
    class_thresholds: bool = False
    """Lower the threshold of each class as much as the teacher is less sure of it than of its surest class, in the mean
    of the last steps (FlexMatch, arXiv 2110.08263; published false)."""
    alignment: float = 0.0
    """How far the classes of whoever labels are drawn to the shares of the labels, 0 (published) to 1 (ReMixMatch,
    arXiv 1911.09785): their probabilities are multiplied by (labeled share / share among its labels) to this power. Not
    those of a trained teacher (`data.teacher`)."""
    weight: float = 1.0
    """Weight of the unlabeled loss (published 1; figure 6 varies it)."""
    teacher: Labeler | None = None
    """Who labels: the moving average of the student, or the student itself in eval mode (table 10; the published change
    detection). Default: as the method was published."""
    warm_up: float = 0.0
    """Part of the steps at the begin that learn from labels alone, 0 to 1 (published 0: a random head labels from the
    first step on); FixMatch and UniMatch V2, others refuse it."""
    own_from: float = 1.0
    """With labels of a trained teacher (`data.teacher`): the part of the steps after which the own average labels
    instead, 0 to 1; 1: never."""
    average: bool = False
    """Where the student labels: keep and evaluate the moving average all the same (the published change detection)."""

    def __post_init__(self) -> None:
        part, number = "a part of the steps from 0 to 1", "a number from 0 to 1"
        for name, expected in (("warm_up", part), ("own_from", part), ("alignment", number)):
            require_setting(self, "consistency", name, 0 <= getattr(self, name) <= 1, expected)

    @property
    def by_class(self) -> bool:
        """Whether something depends on how labels and teacher have spoken of each class so far."""
        return self.class_thresholds or self.alignment > 0


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """The settings of a method that has none of its own."""


@dataclass(frozen=True, kw_only=True)
class SharedSettings:
    """The settings that methods share; each takes what it needs."""

    loss: LossConfig = field(default_factory=LossConfig)
    """The loss of labeled images."""
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    """Learning from pseudo-labels."""


@dataclass(frozen=True, kw_only=True)
class FixMatchConfig:
    """Settings of FixMatch alone."""

    dropout: Literal["none", "random"] = "none"
    """Dropout of the strong view's features; `random` is the feature augmentation of figure 4a."""


@dataclass(frozen=True, kw_only=True)
class UniMatchV2Config:
    """Settings of UniMatch V2 alone."""

    dropout: Literal["complementary", "random", "none"] = "complementary"
    """Dropout of the two views' features: complementary channels, independent draws (figure 4c), none (4b)."""
    dropout_at: Literal["encoder", "classifier"] = "encoder"
    """Where: on all levels of the encoder's output, or on the decoder's features before the classifier (table 12)."""


@dataclass(frozen=True, kw_only=True)
class AllSparkConfig:
    """Settings of AllSpark alone. Its published runs learn every pseudo-label: `consistency.threshold` 0.

    Raises:
        ConfigError: a warm-up of less than no epochs.
    """

    warmup_epochs: int = 5
    """Epochs in which labeled channels ask the unlabeled ones of the batch, before they ask the memory, 0 or more
    (published 5; 15 on Cityscapes)."""

    def __post_init__(self) -> None:
        require_setting(self, "allspark", "warmup_epochs", self.warmup_epochs >= 0, "a number >= 0")


@dataclass(frozen=True, kw_only=True)
class SemiVLConfig:
    """Settings of SemiVL alone."""

    guidance: float = 0.1
    """Weight of the loss against the labels of a frozen CLIP in the first step; it falls linearly to 0 at the end of
    the run (published 0.1). 0: no guidance, and no second CLIP in memory."""
    guidance_threshold: float = 0.9
    """Least confidence of a label of the frozen CLIP that is learned, 0 to 1 (published 0.9)."""
