"""The encoders by name: plain ViTs, BEiT, pyramids, and two small ViTs of our own; where their weights come from."""

from semiseg.models.encoders.base import Encoder
from semiseg.models.encoders.licenses import LICENSES, License
from semiseg.models.encoders.registry import ENCODERS, EncoderSpec, build_encoder, encoder_spec, needed_license

__all__ = [
    "ENCODERS",
    "LICENSES",
    "Encoder",
    "EncoderSpec",
    "License",
    "build_encoder",
    "encoder_spec",
    "needed_license",
]
