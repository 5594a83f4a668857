"""The settings of all methods in one place, each beside the code that it configures."""

from __future__ import annotations

from dataclasses import dataclass, field

from semiseg.methods.consistency import ConsistencyConfig
from semiseg.methods.fixmatch import FixMatchConfig
from semiseg.methods.losses import LossConfig
from semiseg.methods.unimatch_v2 import UniMatchV2Config


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """The settings of all methods; each method takes what it needs."""

    loss: LossConfig = field(default_factory=LossConfig)
    """The loss of labeled images."""
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    """Learning from pseudo-labels."""
    fixmatch: FixMatchConfig = field(default_factory=FixMatchConfig)
    """FixMatch alone."""
    unimatch_v2: UniMatchV2Config = field(default_factory=UniMatchV2Config)
    """UniMatch V2 alone."""
