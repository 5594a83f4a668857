from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from semiseg.errors import ModelError
from semiseg.models.encoders import ENCODERS, build_encoder, encoder_spec


@pytest.mark.parametrize(("name", "near"), [("dinov2_smal", "dinov2_small"), ("vit_mikro", "vit_micro")])
def test_an_unknown_name_names_the_closest(name: str, near: str) -> None:
    with pytest.raises(ModelError, match=f"did you mean '{near}'"):
        encoder_spec(name)


@pytest.mark.parametrize(
    "name", ["timm/no_such_vit", "timm/hf-hub:someone/model", "timm/local-dir:x", "timm/", "resnet"]
)
def test_only_names_of_timms_own_registry_pass(name: str) -> None:
    with pytest.raises(ModelError, match="unknown encoder"):
        build_encoder(name, "random")


@pytest.mark.parametrize("name", ["timm/resnet18", "timm/swin_tiny_patch4_window7_224"])
def test_a_pyramid_is_an_error(name: str) -> None:
    with pytest.raises(ModelError, match="not a plain vision transformer"):
        build_encoder(name, "random")


@pytest.mark.parametrize("name", ["vit_nano", "vit_micro"])
def test_our_own_encoders_have_no_weights_on_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match=r"--model\.weights random"):
        build_encoder(name, "hub")


def test_a_hub_that_does_not_answer_is_an_error_with_two_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ModelError, match=r"no route to host(.|\n)*--model\.weights FILE(.|\n)*random"):
        build_encoder("dinov2_small", "hub")


def test_the_published_weights_are_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    create = timm.create_model

    def without_network(name: str, *, pretrained: bool, **options: Any) -> Any:
        asked[name] = pretrained
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", without_network)
    build_encoder("dinov2_small", "hub")
    assert asked == {"vit_small_patch14_dinov2.lvd142m": True}


@pytest.mark.parametrize("name", ["dinov2_large", "dinov2_giant"])
def test_the_large_encoders_have_the_published_levels(name: str) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name, "random")
        levels = encoder(torch.empty(1, 3, 28, 42))
    assert encoder.taken == {"dinov2_large": (4, 11, 17, 23), "dinov2_giant": (9, 19, 29, 39)}[name]
    assert [level.shape for level in levels] == [(1, {"dinov2_large": 1024, "dinov2_giant": 1536}[name], 2, 3)] * 4


def test_levels_are_channels_last_views_of_tokens() -> None:
    for name in ("vit_nano", "dinov2_small"):
        encoder = build_encoder(name, "random")
        level = encoder(torch.randn(2, 3, 3 * encoder.patch, 2 * encoder.patch))[0]
        assert level.is_contiguous(memory_format=torch.channels_last)


def test_the_registry_is_the_documented_one() -> None:
    sizes = ("small", "base", "large", "giant")
    assert list(ENCODERS) == [*(f"dinov2_{size}" for size in sizes), "vit_nano", "vit_micro"]
