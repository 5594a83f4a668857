"""The settings of a run's length, optimizer, evaluation and precision; they are read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semiseg.data.spec import Protocol
from semiseg.errors import ConfigError, require_setting

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer, in two groups: the encoder, and everything behind it.

    Raises:
        ConfigError: a frozen start that is no part of the steps.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    """AdamW (UniMatch V2, SemiVL), or SGD with momentum (UniMatch V1, AllSpark)."""
    lr: float = 5e-6
    """Learning rate of the encoder (published for DINOv2; 1e-5 for other encoders)."""
    decoder_multiplier: float = 40.0
    """The decoder's learning rate is this many times the encoder's (published 40; 10 for other encoders)."""
    weight_decay: float = 0.01
    """Weight decay, decoupled for `adamw` (published 0.01), L2 for `sgd` (published 1e-4)."""
    decay_norms: bool = True
    """Whether weight decay is for norms too, as published but for SemiVL."""
    momentum: float = 0.9
    """Momentum of `sgd` (published)."""
    lr_batch: int = 16
    """Global batch for which `lr` is stated; another batch scales both rates in proportion (the authors' advice).
    0 leaves them alone."""
    frozen_start: float = 0.0
    """Part of the steps at the begin in which the encoder stands still, 0 to 1 (published 0: it learns from the
    gradients of a random head at once). Then its rate rises to its full height within half as many steps."""

    def __post_init__(self) -> None:
        is_part = 0 <= self.frozen_start <= 1
        require_setting(self, "optimizer", "frozen_start", is_part, "a part of the steps from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Length of a run and size of its steps.

    Raises:
        ConfigError: a number below 1, a negative `conflict_every`, or one beside `compile`.
    """

    epochs: int = 60
    """Passes over the unlabeled images (over the repeated labeled list in labeled-only training)."""
    steps: int | None = None
    """Length in optimizer steps; replaces `epochs`."""
    batch: int = 16
    """Global batch: labeled and unlabeled images of a step (labeled-only training doubles it, as published)."""
    per_device: int | None = None
    """Largest part of the batch that one device takes in one pass; the rest is accumulated. Default: all at once."""
    activation_checkpointing: bool = False
    """Let the blocks of the encoder keep what goes into them alone, and run again for their gradients: less memory, the
    same losses and gradients, but slower. For encoders of blocks without batch norm, but for BEiT."""
    compile: bool = False
    """Compile the blocks of the encoder and the decoder for the steps (`torch.compile`); it takes minutes at the begin
    and a C++ compiler. Losses are the same but for rounding; what dropout draws is not. Off, as it did not pay on a CPU
    and has not been measured on a GPU."""
    ema_decay: float = 0.996
    """Limit of the teacher's decay (published)."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; there is one before each evaluation. Default: an epoch, where `evaluation.every`
    counts epochs."""
    log_every: int = 10
    """Steps between lines in the log."""
    conflict_every: int = 0
    """Steps between measurements of how far labels and pseudo-labels pull the student in the same direction: the cosine
    of the gradients of both losses. Each takes a backward pass more. 0: never."""

    def __post_init__(self) -> None:
        """Refuse lengths and sizes below 1."""
        require_positive(self, "schedule", "epochs", "steps", "batch", "per_device", "checkpoint_every", "log_every")
        expected = "a number of steps, or 0 for never"
        require_setting(self, "schedule", "conflict_every", self.conflict_every >= 0, expected)
        if self.compile and self.conflict_every:
            raise ConfigError(
                "what is compiled keeps nothing for a second backward pass, which the measure of conflicts takes",
                where="schedule.compile and schedule.conflict_every",
                expected="one of them",
                remedy="leave one of them out",
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How student and teacher are evaluated.

    Raises:
        ConfigError: a number below 1, or both `every` and `every_steps`.
    """

    every: int | None = None
    """Epochs between evaluations; the last step is always evaluated. Default: 20 evaluations in a run whose length is
    given in steps, else one after each epoch."""
    every_steps: int | None = None
    """The same in steps; give only one of the two."""
    protocol: Protocol | None = None
    """`original` (whole images) or `sliding` (windows of the crop's size). Default: the data set's."""
    tile: int | None = None
    """Longest side, in pixels, of an image that is seen in one piece; a larger one is seen in overlapping tiles, in the
    evaluation, in its pictures and by `semiseg predict`. Default: 1024, sliding 2048."""
    batch: int = 16
    """Images of one size that are evaluated at once, fewer if together they have more than two megapixels,
    or half a megapixel without a GPU."""

    def __post_init__(self) -> None:
        """Refuse numbers below 1, and two measures of one thing."""
        require_positive(self, "evaluation", "every", "every_steps", "batch", "tile")
        if self.every and self.every_steps:
            raise ConfigError(
                f"evaluations every {self.every} epochs and every {self.every_steps} steps",
                where="evaluation.every and evaluation.every_steps",
                expected="one of them",
                remedy="give null for the other",
            )

    def steps_between(self, steps_per_epoch: int, steps: int | None) -> int:
        """Return the steps between evaluations.

        Args:
            steps_per_epoch: of the run.
            steps: its length where that is given in steps, else None.
        """
        if self.every_steps:
            return self.every_steps
        return max(1, steps // 20) if steps and not self.every else (self.every or 1) * steps_per_epoch


def require_positive(config: object, room: str, *names: str) -> None:
    """Check that fields are at least 1, or None.

    Args:
        config: the dataclass.
        room: its key in the whole configuration.
        *names: the fields.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(
                f"{name} is {value}", where=f"{room}.{name}", expected="1 or more", remedy="correct the number"
            )
