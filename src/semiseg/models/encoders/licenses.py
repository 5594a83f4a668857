"""Weights that are not free for every use: who asks for them has to accept their licence first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class License:
    """Terms that weights come under."""

    title: str
    """What they are called."""
    url: str
    """Where to read them."""


LICENSES = {
    "dinov3": License("DINOv3 License", "https://ai.meta.com/resources/models-and-libraries/dinov3-license/"),
    "segformer": License(
        "NVIDIA Source Code License for SegFormer (non-commercial research)",
        "https://github.com/NVlabs/SegFormer/blob/master/LICENSE",
    ),
}
"""By the name that `--model.license` takes. All other registered weights are under Apache-2.0 or MIT."""
