"""The networks: encoders, the DPT decoder, the segmenter made of them, and its model directory."""

from semiseg.models.card import ModelCard
from semiseg.models.dpt import DPT
from semiseg.models.encoders import ENCODERS, Encoder
from semiseg.models.published import published_names
from semiseg.models.segmenter import ModelConfig, Segmenter, build_segmenter
from semiseg.models.store import find_model, load_model, read_card, save_model

__all__ = [
    "DPT",
    "ENCODERS",
    "Encoder",
    "ModelCard",
    "ModelConfig",
    "Segmenter",
    "build_segmenter",
    "find_model",
    "load_model",
    "published_names",
    "read_card",
    "save_model",
]
