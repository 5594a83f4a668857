from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fidelity import apart, draws, rule_allspark  # benchmarks/fidelity.py
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, build_segmenter
from semiseg.models.decoders.segformer import SegFormer

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/allspark.json").read_text())
WIDTHS = (64, 128, 320, 512)


@pytest.fixture(scope="module")
def levels() -> list[Tensor]:
    sizes = ((17, 25), (9, 13), (5, 7), (3, 4))
    shapes = [(2, width, *size) for width, size in zip(WIDTHS, sizes, strict=True)]
    return [torch.from_numpy(draws(f"level{index}", shape).astype(np.float32)) for index, shape in enumerate(shapes)]


@pytest.mark.parametrize("mode", ["eval", "train"])
@torch.no_grad()
def test_logits_are_the_published_ones(levels: list[Tensor], mode: str) -> None:
    """With the norm's running figures, and with those of the batch."""
    decoder = SegFormer(WIDTHS, 768, 21)
    rule_allspark(decoder, "decoder.")
    logits = decoder.train(mode == "train")(levels)
    assert logits.shape == (2, 21, 17, 25)
    assert apart(logits, GOLDEN[f"segformer/{mode}"]) < 1e-5


def test_the_hook_sees_what_the_classifier_sees(levels: list[Tensor]) -> None:
    decoder = SegFormer(WIDTHS, 32, 5).eval()
    seen = []

    def double(features_BFHW: Tensor) -> Tensor:
        seen.append(tuple(features_BFHW.shape))
        return torch.cat((features_BFHW, 0 * features_BFHW))

    logits, nothing = decoder(levels, double).chunk(2)
    assert seen == [(2, 32, 17, 25)]
    torch.testing.assert_close(logits, decoder(levels))
    torch.testing.assert_close(nothing, decoder.classifier.bias.view(1, 5, 1, 1).expand_as(nothing))


def test_training_drops_whole_channels(levels: list[Tensor]) -> None:
    decoder = SegFormer(WIDTHS, 200, 5).train()
    decoder.norm.bias.data.fill_(9.0)  # so that ReLU leaves no channel without a value
    kept: list[Tensor] = []
    decoder(levels, lambda features: kept.append(features) or features)  # type: ignore[func-returns-value]
    dropped = (kept[0] == 0).flatten(2)
    assert torch.equal(dropped.all(-1), dropped.any(-1))
    assert 0.02 < dropped.all(-1).float().mean() < 0.25


@pytest.mark.usefixtures("small_encoders")
def test_logits_are_enlarged_without_aligned_corners() -> None:
    model = build_segmenter(ModelConfig(encoder="small_mit", decoder="segformer", weights="random", features=16), 3)
    images = torch.randn(1, 1, 3, 64, 96)
    coarse = model.eval().decoder(model.encode(images))
    expected = F.interpolate(coarse, (64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(model(images), expected)


def test_the_published_width_is_the_default() -> None:
    model = build_segmenter(ModelConfig(encoder="vit_nano", decoder="segformer", weights="random"), 3)
    assert model.decoder.features == 768
    assert isinstance(model.decoder.classifier, nn.Conv2d)
    assert model.decoder.classifier.in_channels == 768


@pytest.mark.parametrize("sizes", [{"features": 0}, {"features": 4096}, {"level_widths": (8, 8, 8, 8)}])
def test_impossible_sizes_are_an_error(sizes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=r"features of 1 to 2048(.|\n)*768"):
        build_segmenter(ModelConfig(encoder="vit_nano", decoder="segformer", weights="random", **sizes), 3)  # type: ignore[arg-type]
