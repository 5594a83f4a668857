"""The decoders, and how one is built by name."""

from semiseg.models.decoders.base import Decoder, FeatureHook, LevelHook
from semiseg.models.decoders.dpt import DPT
from semiseg.models.decoders.registry import DECODERS, build_decoder

__all__ = ["DECODERS", "DPT", "Decoder", "FeatureHook", "LevelHook", "build_decoder"]
