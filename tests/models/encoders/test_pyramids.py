from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.layers.drop import DropPath
from torch import nn

from semiseg.errors import ModelError
from semiseg.models.encoders import ENCODERS, build_encoder
from semiseg.models.encoders.pyramids import Pyramid

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


PYRAMIDS = ["test_resnet", "test_convnext", "test_efficientnet", "pvt_v2_b0"]


@pytest.mark.parametrize("name", PYRAMIDS)
def test_any_pyramid_of_timm_gives_its_last_four_levels_and_all_of_it_learns(name: str) -> None:
    encoder = build_encoder(f"timm/{name}", "random")
    assert encoder.training
    levels = encoder(torch.randn(2, 3, 64, 96))
    assert (encoder.patch, encoder.strides) == (1, (4, 8, 16, 32))
    expected = [
        (2, width, 64 // stride, 96 // stride) for width, stride in zip(encoder.widths, encoder.strides, strict=True)
    ]
    assert [tuple(level.shape) for level in levels] == expected
    sum(level.square().mean() for level in levels).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_windows_want_sides_that_divide_into_patches() -> None:
    encoder = ENCODERS["small_swin"].build(False)
    assert encoder.patch == 4
    sides = [tuple(level.shape[2:]) for level in encoder(torch.randn(1, 3, 68, 100))]
    assert sides == [(17, 25), (9, 13), (5, 7), (3, 4)]


PARAMETERS = [("resnet50", 23_631_808), ("resnet101", 42_623_936), ("xception65", 37_867_312)]
"""What the public code of UniMatch V1 builds has as many."""


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS)
def test_encoders_of_unimatch_v1_end_at_stride_16(name: str, parameters: int) -> None:
    encoder = build_encoder(name, "random").eval()
    with torch.inference_mode():
        levels = encoder(torch.randn(1, 3, 65, 97))
    assert encoder.strides == (4, 8, 16, 16)
    assert [tuple(level.shape) for level in levels] == [
        (1, width, -(-65 // stride), -(-97 // stride))
        for width, stride in zip(encoder.widths, encoder.strides, strict=True)
    ]
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters


def test_the_norms_of_xception_move_as_slowly_as_published_and_its_exit_is_not_dilated() -> None:
    modules = list(build_encoder("xception65", "random").modules())
    assert {module.momentum for module in modules if isinstance(module, nn.BatchNorm2d)} == {0.0003}
    assert {module.dilation for module in modules if isinstance(module, nn.Conv2d)} == {(1, 1)}


def test_a_file_that_counts_no_batches_loads(tmp_path: Path) -> None:
    state = build_encoder("small_resnet", "random").core().state_dict()
    torch.save({key: value + 1 for key, value in state.items() if value.ndim}, tmp_path / "weights.pth")
    loaded = build_encoder("small_resnet", str(tmp_path / "weights.pth")).core().state_dict()
    assert all(torch.equal(loaded[key], state[key] + 1 if state[key].ndim else state[key]) for key in state)


def test_the_mix_transformer_skips_blocks_as_often_as_published() -> None:
    chances = [block.drop_prob for block in ENCODERS["small_mit"].build(False).modules() if isinstance(block, DropPath)]
    assert chances == pytest.approx([0.1 * block / 7 for block in range(1, 8)])


def test_images_too_small_for_the_mix_transformer_are_an_error() -> None:
    with pytest.raises(ModelError, match="at least 32 pixels"):
        ENCODERS["small_mit"].build(False)(torch.zeros(1, 3, 64, 31))


def test_the_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("segmentation_models_pytorch", "segmentation_models_pytorch.encoders"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match=r"pip install 'semiseg\[mit\]'"):
        build_encoder("mit_b5", "random")


@pytest.mark.parametrize(
    ("name", "classifier"), [("small_mit", "head"), ("small_resnet", "fc"), ("small_convnext", "head.fc")]
)
def test_a_file_with_its_classifier_loads(tmp_path: Path, name: str, classifier: str) -> None:
    state = {key: value + 1 for key, value in build_encoder(name, "random").core().state_dict().items()}
    save_file(state | {f"{classifier}.weight": torch.zeros(10, 8)}, tmp_path / "weights.safetensors")
    loaded = build_encoder(name, str(tmp_path / "weights.safetensors")).core().state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_resnet_couples_the_images_of_a_training_batch_alone() -> None:
    encoder = Pyramid("test_resnet.r160_in1k", False)
    images = torch.randn(3, 3, 64, 64)
    assert not torch.allclose(encoder.train()(images)[3][:1], encoder(images[:2])[3][:1])
    torch.testing.assert_close(encoder.eval()(images)[3][:1], encoder(images[:2])[3][:1])
