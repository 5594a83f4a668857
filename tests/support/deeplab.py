"""The network of UniMatch V1 with weights filled by the rule, and the names that its public code has for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from fidelity import rule  # benchmarks/fidelity.py

from semiseg.data import DatasetSpec
from semiseg.models import ModelConfig, Segmenter, build_segmenter
from semiseg.models.decoders.deeplabv3plus import DeepLabV3Plus
from semiseg.models.encoders.pyramids import Pyramid

_NAMES = (
    (r"^encoder\.backbone\.", "backbone."),
    (r"^decoder\.context\.branches\.4\.conv\.", "head.b4.gap.1."),
    (r"^decoder\.context\.branches\.4\.norm\.", "head.b4.gap.2."),
    (r"^decoder\.context\.branches\.(\d)\.", r"head.b\1."),
    (r"^decoder\.context\.project\.", "head.project."),
    (r"^decoder\.fuse\.1\.0\.", "fuse.3."),
    (r"^decoder\.fuse\.1\.1\.", "fuse.4."),
    (r"^decoder\.fuse\.0\.", "fuse."),
    (r"^decoder\.", ""),
)


def deeplab_names(keys: Iterable[str]) -> dict[str, str]:
    """Map our keys to the names in the public code (commit 0324f3d), but for the counts of batches of norms."""
    return {key: _published(key) for key in keys if not key.endswith("num_batches_tracked")}


def _published(key: str) -> str:
    pattern, name = next(pair for pair in _NAMES if re.match(pair[0], key))
    return re.sub(pattern, name, key)


@torch.no_grad()
def fill(segmenter: Segmenter) -> Segmenter:
    """Fill a network by the rule."""
    state = segmenter.state_dict()
    for key, name in deeplab_names(state).items():
        state[key].copy_(rule(name, tuple(state[key].shape)))
    return segmenter


def from_file(encoder: str, folder: Path) -> Segmenter:
    """Build a network filled by the rule whose encoder's weights come by a file as the public code reads it."""
    config = ModelConfig(encoder=encoder, decoder="deeplabv3plus", weights="random")
    filled = fill(build_segmenter(config, 21))
    names = deeplab_names(filled.encoder.core().state_dict(prefix="encoder.backbone."))
    backbone = {names[key].removeprefix("backbone."): filled.state_dict()[key] for key in names}
    torch.save(backbone | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, folder / "encoder.pth")
    config = ModelConfig(encoder=encoder, decoder="deeplabv3plus", weights=str(folder / "encoder.pth"))
    segmenter = build_segmenter(config, 21)
    segmenter.decoder.load_state_dict(filled.decoder.state_dict())
    return segmenter


def small_student(spec: DatasetSpec) -> Segmenter:
    """Build a network with one block a stage, filled by the rule."""
    encoder = Pyramid("resnet50s", False, output_stride=16, layers=(1, 1, 1, 1))
    decoder = DeepLabV3Plus(encoder.widths[0], encoder.widths[3], 256, spec.num_classes)
    config = ModelConfig(encoder="resnet50", decoder="deeplabv3plus", weights="random")
    return fill(Segmenter(encoder, None, decoder, config, spec.num_classes, frames=1, seed=0))
