"""Scales and flips: the mean of what a model sees in several views of one picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.engine.inference import Inference, inference_of
from semiseg.errors import ConfigError
from semiseg.models import ModelCard, ModelConfig, Segmenter, build_segmenter

CONFIG = ModelConfig(encoder="vit_nano", weights="random")
PLAIN = Inference(protocol="original", window=32, tile=1024, bf16=False)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return build_segmenter(CONFIG, num_classes=4).eval()


@torch.no_grad()
def probabilities(model: Segmenter, images: Tensor, inference: Inference) -> Tensor:
    found = torch.full((len(images), 4, *images.shape[-2:]), torch.nan)
    for block in inference.blocks(model, lambda y, x: images[..., y, x], *images.shape[-2:]):
        found[..., block.rows, block.columns] = block.probabilities()
    return found


def picture(height: int = 48, width: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 1, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("protocol", ["original", "sliding"])
def test_a_flip_adds_what_the_mirrored_picture_shows(model: Segmenter, protocol: str) -> None:
    images, plain = picture(), replace(PLAIN, protocol=protocol)
    mirrored = probabilities(model, images.flip(-1), plain).flip(-1)
    expected = (probabilities(model, images, plain) + mirrored) / 2
    torch.testing.assert_close(probabilities(model, images, replace(plain, flip=True)), expected)


def test_the_mask_of_a_mirrored_picture_is_the_mirrored_mask(model: Segmenter) -> None:
    look = replace(PLAIN, flip=True, scales=(0.5, 1.0))
    mirrored = probabilities(model, picture().flip(-1), look).flip(-1)
    torch.testing.assert_close(mirrored, probabilities(model, picture(), look))


def test_scales_add_what_the_resized_picture_shows(model: Segmenter) -> None:
    images = picture()
    half = F.interpolate(model.normalize(images)[:, 0], (24, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        found = F.interpolate(model(half[:, None]).softmax(1), (48, 64), mode="bilinear")
    expected = (found + probabilities(model, images, PLAIN)) / 2
    torch.testing.assert_close(probabilities(model, images, replace(PLAIN, scales=(0.5, 1.0))), expected)


def test_views_of_tiles_are_probabilities_at_every_pixel(model: Segmenter) -> None:
    found = probabilities(model, picture(70, 90), replace(PLAIN, tile=48, flip=True, scales=(0.5, 1.5)))
    torch.testing.assert_close(found.sum(1), torch.ones(2, 70, 90))


@pytest.mark.parametrize("scales", [(), (0.1,), (1.0, 5.0), (float("nan"),)])
def test_scales_out_of_range_are_refused(scales: tuple[float, ...]) -> None:
    card = ModelCard(classes=("a",), palette=((0, 0, 0),), crop=32, model=CONFIG)
    with pytest.raises(ConfigError, match=r"scales of .*\n.*factors from 0.25 to 4"):
        inference_of(card, 8, device=torch.device("cpu"), scales=scales)
