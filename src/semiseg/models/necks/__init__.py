"""Necks: what stands between encoder and decoder and has weights of its own."""

from semiseg.models.necks.base import Neck
from semiseg.models.necks.registry import NECKS, build_neck

__all__ = ["NECKS", "Neck", "build_neck"]
