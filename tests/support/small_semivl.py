"""A small network of SemiVL with weights and texts filled by the rule, and steps of a training that are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from drawn import Drawn  # tests/support/drawn.py
from fidelity import draws, rule  # benchmarks/fidelity.py
from ruled_clip import EXACT  # tests/support/ruled_clip.py
from safetensors.torch import save_file
from torch import Tensor

from semiseg.augment import ViewDraws, cutmix
from semiseg.data import Batch, DatasetSpec, Labeled, PixelCounts, Unlabeled
from semiseg.data.palette import default_palette
from semiseg.models import ModelConfig, Segmenter, build_segmenter, describe_classes
from semiseg.models.encoders.clip import CLIP

SIDE = 96
SPEC = DatasetSpec(
    name="five",
    classes=tuple("abcde"),
    palette=default_palette(5),
    concepts={"a": ("a one", "a two", "a three"), "d": ("d one", "d two")},
)
ENCODER = "clip_small_exact"
"""The name that `small_clip` has to be given in the registry."""


def small_clip(_: bool) -> CLIP:
    """Build a CLIP of 6 blocks and 64 channels; with the exact GELU, as the public code computes it."""
    return CLIP(EXACT, (0, 4), "none", False, embed_dim=64, depth=6, num_heads=2)


def text(name: str) -> Tensor:
    """Return the embedding of a text, of some length."""
    return torch.from_numpy(draws(f"text {name}", (512,)).astype(np.float32))


def ruled_semivl(folder: Path) -> Segmenter:
    """Build the student, whose encoder's weights and texts are in files in a folder, as a guide needs them."""
    shapes = {key: tuple(value.shape) for key, value in small_clip(False).core().state_dict().items()}
    weights = {key: rule(f"clip.{key}", shape, gain=1.4) for key, shape in shapes.items()}
    save_file(weights | {"head.bias": torch.zeros(512)}, folder / "clip.safetensors")
    texts = [*SPEC.classes, *(text for words in SPEC.definitions.values() for text in words)]
    save_file({name: text(name) for name in texts}, folder / "texts.safetensors")
    config = ModelConfig(
        encoder=ENCODER,
        decoder="semivl",
        features=64,
        weights=str(folder / "clip.safetensors"),
        text=str(folder / "texts.safetensors"),
        trains="attention",
    )
    student = build_segmenter(config, SPEC.num_classes)
    state = student.decoder.state_dict()
    ruled = {key: rule(f"decoder.{key}", tuple(value.shape), gain=1.4) for key, value in state.items()}
    student.decoder.load_state_dict(ruled)
    describe_classes(student, SPEC.definitions, seed=0)
    return student


class SmallSteps(Drawn):
    """The drawn steps of others, cropped to a multiple of CLIP's patches."""

    def __init__(self) -> None:
        super().__init__("semivl", SPEC, batch=2)

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        assert batch.unlabeled is not None
        assert batch.second is not None
        unlabeled, second = _cropped(batch.unlabeled), _cropped(batch.second)
        mask_BHW = batch.labeled.mask_BHW[:, :SIDE, :SIDE]
        valid, content = ~unlabeled.ignore_BHW, ~second.ignore_BHW
        mixed = [cutmix(valid, view.box_B4, content) for view in unlabeled.views]
        counts = torch.stack([(mask_BHW != 255).sum(), valid.sum(), *(pixels.sum() for pixels in mixed)])
        return replace(
            batch,
            labeled=Labeled(batch.labeled.images_BTHWC[:, :, :SIDE, :SIDE], mask_BHW),
            unlabeled=unlabeled,
            second=second,
            pixels=PixelCounts.unstacked(counts.double()),
        )


def _cropped(crops: Unlabeled) -> Unlabeled:
    return Unlabeled(crops.images_BTHWC[:, :, :SIDE, :SIDE], crops.ignore_BHW[:, :SIDE, :SIDE], _clamped(crops.views))


def _clamped(views: Sequence[ViewDraws]) -> tuple[ViewDraws, ...]:
    return tuple(replace(view, box_B4=view.box_B4.clamp(max=SIDE)) for view in views)
