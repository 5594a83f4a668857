"""The networks: encoders, necks, decoders, the segmenter made of them, and its model directory."""

from semiseg.models.card import ModelCard, Training
from semiseg.models.config import ModelConfig
from semiseg.models.decoders import DECODERS, DPT, Decoder, FeatureHook, LevelHook
from semiseg.models.encoders import ENCODERS, Encoder
from semiseg.models.necks import NECKS, Neck
from semiseg.models.published import published_names
from semiseg.models.segmenter import Segmenter, build_segmenter, configured_encoder, load_model
from semiseg.models.store import find_model, read_card, save_model
from semiseg.models.texts import describe_classes, embed_concepts

__all__ = [
    "DECODERS",
    "DPT",
    "ENCODERS",
    "NECKS",
    "Decoder",
    "Encoder",
    "FeatureHook",
    "LevelHook",
    "ModelCard",
    "ModelConfig",
    "Neck",
    "Segmenter",
    "Training",
    "build_segmenter",
    "configured_encoder",
    "describe_classes",
    "embed_concepts",
    "find_model",
    "load_model",
    "published_names",
    "read_card",
    "save_model",
]
