from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.layers.drop import DropPath

from semiseg.errors import ModelError
from semiseg.models.encoders import ENCODERS, build_encoder
from semiseg.models.encoders.pyramids import MiT, ResNet

pytestmark = pytest.mark.usefixtures("small_encoders")


@pytest.mark.parametrize("name", ["small_mit", "small_resnet"])
@pytest.mark.parametrize("size", [(64, 96), (37, 70)])
def test_any_size_gives_strides_4_to_32_rounded_up(name: str, size: tuple[int, int]) -> None:
    encoder = ENCODERS[name].build(False).eval()
    levels = encoder(torch.randn(2, 3, *size))
    expected = [
        (2, width, -(-size[0] // stride), -(-size[1] // stride))
        for width, stride in zip(encoder.widths, (4, 8, 16, 32), strict=True)
    ]
    assert [tuple(level.shape) for level in levels] == expected
    assert encoder.strides == (4, 8, 16, 32)
    assert encoder.patch == 1


def test_the_mix_transformer_gives_the_same_twice_in_training() -> None:
    encoder = MiT("mit_b0", False).train()
    assert any(isinstance(module, DropPath) for module in encoder.modules())
    image = torch.randn(4, 3, 32, 32)
    state = torch.get_rng_state()
    for first, again in zip(encoder(image), encoder(image), strict=True):
        assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_too_small_for_the_mix_transformer_are_an_error() -> None:
    with pytest.raises(ModelError, match="at least 32 pixels"):
        ENCODERS["small_mit"].build(False)(torch.zeros(1, 3, 64, 31))


def test_the_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("segmentation_models_pytorch", "segmentation_models_pytorch.encoders"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match=r"pip install 'semiseg\[mit\]'"):
        build_encoder("mit_b5", "random")


@pytest.mark.parametrize(("name", "classifier"), [("small_mit", "head"), ("small_resnet", "fc")])
def test_a_file_with_its_classifier_loads(tmp_path: Path, name: str, classifier: str) -> None:
    state = {key: value + 1 for key, value in build_encoder(name, "random").core().state_dict().items()}
    save_file(state | {f"{classifier}.weight": torch.zeros(10, 8)}, tmp_path / "weights.safetensors")
    loaded = build_encoder(name, str(tmp_path / "weights.safetensors")).core().state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_resnet_couples_the_images_of_a_training_batch_alone() -> None:
    encoder = ResNet("test_resnet.r160_in1k", False)
    images = torch.randn(3, 3, 64, 64)
    assert not torch.allclose(encoder.train()(images)[3][:1], encoder(images[:2])[3][:1])
    torch.testing.assert_close(encoder.eval()(images)[3][:1], encoder(images[:2])[3][:1])
