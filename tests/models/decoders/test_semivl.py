"""The language-guided decoder; its figures are held against the published code, see tests/golden/semivl.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fidelity import apart, draws, rule  # benchmarks/fidelity.py
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, build_segmenter
from semiseg.models.decoders.semivl import LanguageGuided

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/semivl.json").read_text())["decoder"]
CLASSES = 3


def tensor(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(draws(name, shape).astype(np.float32))


@pytest.mark.parametrize(
    ("kind", "widths", "detail", "finest"),
    [("plain", (768, 768, 512), 4, ("skip 0", 10)), ("resnet", (256, 768, 512), 2, ("resnet", 40))],
)
def test_logits_are_the_published_ones(
    kind: str, widths: tuple[int, int, int], detail: int, finest: tuple[str, int]
) -> None:
    decoder = LanguageGuided(widths, detail, stride=16, num_classes=5).eval()
    state = {key: rule(f"decoder.{key}", tuple(value.shape), gain=1.4) for key, value in decoder.state_dict().items()}
    decoder.load_state_dict(state)
    decoder.describe(tensor("texts", 5, 512))
    name, side = finest
    levels = [
        tensor(name, 2, widths[0], side, side),
        tensor("skip 4", 2, 768, 10, 10),
        tensor("aligned", 2, 512, 10, 10),
    ]
    with torch.inference_mode():
        logits = decoder([levels[0], levels[1], torch.empty(0), levels[2]])
    assert apart(logits, GOLDEN[kind]["logits"]) < 1e-4


@pytest.fixture
def decoder() -> LanguageGuided:
    torch.manual_seed(0)
    return LanguageGuided((12, 12, 8), 4, stride=16, num_classes=CLASSES).eval()


def levels(batch: int = 2, grid: tuple[int, int] = (5, 6)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, width, *grid, generator=generator) for width in (12, 12, 12, 8)]


@pytest.mark.parametrize("grid", [(1, 1), (3, 9), (5, 6)])
def test_logits_have_the_size_of_the_image(decoder: LanguageGuided, grid: tuple[int, int]) -> None:
    assert decoder(levels(grid=grid)).shape == (2, CLASSES, 16 * grid[0], 16 * grid[1])


def test_classes_that_change_places_change_their_logits(decoder: LanguageGuided) -> None:
    before = decoder(levels())
    decoder.describe(7 * decoder.text_KC.flip(0))  # of another length: only the direction counts
    torch.testing.assert_close(decoder(levels()).flip(1), before, rtol=1e-4, atol=1e-5)


def test_the_texts_of_all_classes_matter_to_each(decoder: LanguageGuided) -> None:
    before = decoder(levels())
    decoder.describe(torch.cat((decoder.text_KC[:2], -decoder.text_KC[2:])))
    assert not torch.isclose(decoder(levels())[:, 0], before[:, 0]).all()


def test_a_hook_sees_the_features_of_a_sample_and_may_enlarge_the_batch(decoder: LanguageGuided) -> None:
    plain = decoder(levels())
    doubled = decoder(levels(), at_features=lambda x: torch.cat((x, x * 0)))
    torch.testing.assert_close(doubled[:2], plain)
    assert doubled[2:].std() < 1e-6
    assert decoder.features == CLASSES * 32


def test_the_texts_are_saved_with_the_model(decoder: LanguageGuided) -> None:
    assert "text_KC" in decoder.state_dict()


def test_an_encoder_that_knows_no_texts_is_an_error() -> None:
    with pytest.raises(ModelError, match="compares features with texts, which those of vit_nano"):
        build_segmenter(ModelConfig(encoder="vit_nano", decoder="semivl", weights="random"), CLASSES)


def test_a_smaller_decoder_for_small_machines_has_a_width_that_can_be_divided() -> None:
    small = ModelConfig(encoder="clip_nano", decoder="semivl", weights="random", features=16)
    model = build_segmenter(small, CLASSES)
    assert model(torch.randn(1, 1, 3, 32, 48)).shape == (1, CLASSES, 32, 48)
    assert model.decoder.features == CLASSES * 4
    with pytest.raises(ModelError, match="cannot have 24 features"):
        build_segmenter(replace(small, features=24), CLASSES)
