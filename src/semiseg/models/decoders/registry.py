"""The registry of decoders."""

from __future__ import annotations

from collections.abc import Callable

from semiseg.errors import ModelError, closest
from semiseg.models.config import ModelConfig
from semiseg.models.decoders.base import Decoder
from semiseg.models.decoders.deeplabv3plus import build_deeplabv3plus
from semiseg.models.decoders.dpt import build_dpt
from semiseg.models.decoders.segformer import build_segformer
from semiseg.models.decoders.semivl import build_language_guided
from semiseg.models.encoders import Encoder

DECODERS: dict[str, Callable[[Encoder, ModelConfig, int], Decoder]] = {
    "dpt": build_dpt,
    "deeplabv3plus": build_deeplabv3plus,
    "segformer": build_segformer,
    "semivl": build_language_guided,
}
"""What builds each decoder from the encoder, the configuration and the number of classes K; closed."""


def build_decoder(encoder: Encoder, config: ModelConfig, num_classes: int) -> Decoder:
    """Build the decoder that `config` names, its weights from torch's global generator.

    Raises:
        ModelError: unknown decoder, or sizes that it cannot have.
    """
    if config.decoder not in DECODERS:
        raise ModelError(
            f"unknown decoder {config.decoder!r}{closest(config.decoder, DECODERS)}",
            expected=f"one of {', '.join(DECODERS)}",
            remedy="set --model.decoder to one of these",
        )
    return DECODERS[config.decoder](encoder, config, num_classes)
