"""The registry of necks."""

from __future__ import annotations

from collections.abc import Callable

from semiseg.errors import ModelError, closest
from semiseg.models.config import ModelConfig
from semiseg.models.encoders import Encoder
from semiseg.models.necks.allspark import build_allspark
from semiseg.models.necks.base import Neck

NECKS: dict[str, Callable[[Encoder, ModelConfig], Neck]] = {
    "allspark": build_allspark,
}
"""What builds each neck from the encoder and the configuration; closed."""


def build_neck(encoder: Encoder, config: ModelConfig) -> Neck | None:
    """Build the neck that `config` names, its weights from torch's global generator; None if it names none.

    Raises:
        ModelError: unknown neck.
    """
    if config.neck is None:
        return None
    if config.neck not in NECKS:
        raise ModelError(
            f"unknown neck {config.neck!r}{closest(config.neck, NECKS)}",
            expected=", ".join(NECKS) or "none",
            remedy="leave --model.neck out, or set it to one of these",
        )
    return NECKS[config.neck](encoder, config)
