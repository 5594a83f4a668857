from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from semiseg.models import ModelConfig, Segmenter, build_segmenter

pytestmark = pytest.mark.usefixtures("small_encoders")
DRAWING = {
    "decoder": ModelConfig(encoder="vit_nano", decoder="segformer", weights="random", features=32),
    "neck": ModelConfig(encoder="vit_nano", neck="allspark", weights="random"),
    "encoder": ModelConfig(encoder="small_mit", weights="random"),
}


@pytest.fixture(params=DRAWING)
def model(request: pytest.FixtureRequest) -> Segmenter:
    return build_segmenter(DRAWING[request.param], 3, seed=1).train()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def passes(model: Segmenter, images: Tensor, count: int = 2) -> list[Tensor]:
    return [model(images) for _ in range(count)]


def test_every_pass_draws_anew_and_the_global_generator_stays_as_it_is(model: Segmenter, images: Tensor) -> None:
    state = torch.get_rng_state()
    first, second = passes(model, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, second)


def test_what_is_drawn_is_a_function_of_seed_and_pass_alone(model: Segmenter, images: Tensor) -> None:
    twin = copy.deepcopy(model)
    found = passes(model, images)
    torch.rand(7)
    twin.eval()(images)
    again = passes(twin.train(), images)
    assert all(torch.equal(*pair) for pair in zip(found, again, strict=True))
    other = build_segmenter(model.config, 3, seed=2).train()
    assert other.draws is not None
    assert model.draws is not None
    other.load_state_dict(model.state_dict())
    other.draws.passes = 0
    assert not torch.equal(passes(other, images)[0], found[0])


def test_a_restored_model_goes_on_where_it_was(model: Segmenter, images: Tensor) -> None:
    passes(model, images)
    restored = build_segmenter(model.config, 3, seed=1).train()
    restored.load_state_dict(model.state_dict())
    assert all(torch.equal(*pair) for pair in zip(passes(restored, images), passes(model, images), strict=True))


def test_models_that_draw_nothing_count_nothing() -> None:
    for name in ("vit_nano", "small_resnet"):
        model = build_segmenter(ModelConfig(encoder=name, weights="random"), 3)
        assert model.draws is None
        assert not [key for key in model.state_dict() if "draws" in key]
