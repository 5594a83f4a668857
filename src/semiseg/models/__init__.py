"""The networks: encoders, necks, decoders, the segmenter made of them, and its model directory."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semiseg.models.card import ModelCard, Training
    from semiseg.models.compiling import as_written, compile_parts
    from semiseg.models.config import ModelConfig
    from semiseg.models.decoders import DECODERS, DPT, Decoder, FeatureHook, LevelHook
    from semiseg.models.encoders import ENCODERS, Encoder
    from semiseg.models.necks import NECKS, Neck
    from semiseg.models.published import published_names
    from semiseg.models.recomputing import can_recompute, recompute
    from semiseg.models.segmenter import Segmenter, build_segmenter, configured_encoder, load_model
    from semiseg.models.store import find_model, read_card, save_model
    from semiseg.models.texts import describe_classes, embed_concepts

# Loaded on first use: the settings of this room are read without torch, which takes seconds to import.
_HOMES = {
    "DECODERS": "semiseg.models.decoders",
    "DPT": "semiseg.models.decoders",
    "ENCODERS": "semiseg.models.encoders",
    "NECKS": "semiseg.models.necks",
    "Decoder": "semiseg.models.decoders",
    "Encoder": "semiseg.models.encoders",
    "FeatureHook": "semiseg.models.decoders",
    "LevelHook": "semiseg.models.decoders",
    "ModelCard": "semiseg.models.card",
    "ModelConfig": "semiseg.models.config",
    "Neck": "semiseg.models.necks",
    "Segmenter": "semiseg.models.segmenter",
    "Training": "semiseg.models.card",
    "as_written": "semiseg.models.compiling",
    "build_segmenter": "semiseg.models.segmenter",
    "can_recompute": "semiseg.models.recomputing",
    "compile_parts": "semiseg.models.compiling",
    "configured_encoder": "semiseg.models.segmenter",
    "describe_classes": "semiseg.models.texts",
    "embed_concepts": "semiseg.models.texts",
    "find_model": "semiseg.models.store",
    "load_model": "semiseg.models.segmenter",
    "published_names": "semiseg.models.published",
    "read_card": "semiseg.models.store",
    "recompute": "semiseg.models.recomputing",
    "save_model": "semiseg.models.store",
}

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
    "as_written",
    "build_segmenter",
    "can_recompute",
    "compile_parts",
    "configured_encoder",
    "describe_classes",
    "embed_concepts",
    "find_model",
    "load_model",
    "published_names",
    "read_card",
    "recompute",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
