from __future__ import annotations

from typing import Any

import pytest
import timm

from semiseg.errors import ModelError
from semiseg.models import hub
from semiseg.models.encoders.base import Encoder, create_timm


def test_the_width_is_that_of_the_widest_level() -> None:
    encoder = Encoder()
    encoder.widths = (8, 32, 16, 24)
    assert encoder.width == 32


def test_whatever_goes_wrong_with_the_hub_is_an_error_with_two_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    monkeypatch.setattr(hub, "hub_silence", lambda: None)
    with pytest.raises(ModelError, match=r"no route to host(.|\n)*--model\.weights FILE(.|\n)*random"):
        create_timm("vit_small_patch14_dinov2", pretrained=True)
    with pytest.raises(OSError, match="no route"):
        create_timm("vit_small_patch14_dinov2", pretrained=False)


def test_options_that_a_model_does_not_know_tell_that_it_is_no_plain_vit() -> None:
    with pytest.raises(ModelError, match="not a plain vision transformer"):
        create_timm("resnet18", pretrained=False, dynamic_img_size=True)
