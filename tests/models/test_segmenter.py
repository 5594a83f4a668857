"""What every segmenter keeps: one test class for all encoders that are small enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, Segmenter, build_segmenter

CLASSES = 5
CONFIGS = {
    "vit_nano": ModelConfig(encoder="vit_nano", weights="random"),
    "vit_micro": ModelConfig(encoder="vit_micro", weights="random"),
    "dinov2_small": ModelConfig(encoder="dinov2_small", weights="random"),
    "timm": ModelConfig(encoder="timm/vit_tiny_patch16_224", weights="random", features=16),
}
NANO = CONFIGS["vit_nano"]


@pytest.fixture(scope="module", params=CONFIGS)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    return build_segmenter(CONFIGS[request.param], CLASSES)


def images(model: Segmenter, rows: int, columns: int, batch: int = 2) -> Tensor:
    shape = (batch, model.frames, 3, rows * model.patch, columns * model.patch)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class TestEverySegmenter:
    @pytest.mark.parametrize(("rows", "columns"), [(14, 14), (3, 5), (1, 2)])
    def test_gives_logits_of_the_input_size(self, segmenter: Segmenter, rows: int, columns: int) -> None:
        x = images(segmenter, rows, columns)
        logits = segmenter(x)
        assert logits.shape == (2, CLASSES, *x.shape[-2:])
        assert logits.isfinite().all()

    def test_gives_four_levels_at_the_stride_of_the_patch(self, segmenter: Segmenter) -> None:
        levels = segmenter.encode(images(segmenter, 14, 14))
        assert [level.shape for level in levels] == [(2, segmenter.width, 14, 14)] * 4

    def test_gradients_reach_every_trainable_parameter(self, segmenter: Segmenter) -> None:
        segmenter.zero_grad()
        segmenter(images(segmenter, 14, 14)).square().mean().backward()
        trainable = {name for name, p in segmenter.named_parameters() if p.requires_grad}
        reached = {name for name, p in segmenter.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached == trainable

    def test_a_side_off_the_patch_is_an_error_that_names_the_nearest_size(self, segmenter: Segmenter) -> None:
        side = 4 * segmenter.patch
        with pytest.raises(ModelError, match=f"multiples of {segmenter.patch}(.|\n)*to {side} x {side}"):
            segmenter(torch.zeros(1, 1, 3, side + 1, side))

    def test_samples_of_a_batch_do_not_see_each_other(self, segmenter: Segmenter) -> None:
        x = images(segmenter, 14, 14)
        together, alone = segmenter(x), segmenter(x[:1])
        torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-4)

    def test_bfloat16_autocast_gives_float32_logits_near_the_exact_ones(self, segmenter: Segmenter) -> None:
        x = images(segmenter, 14, 14)
        exact = segmenter(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = segmenter(x)
        assert rounded.dtype == torch.float32
        assert (rounded - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("name", ["vit_nano", "dinov2_small"])
def test_the_state_is_a_function_of_the_seed_and_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (build_segmenter(CONFIGS[name], CLASSES, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["decoder.classifier.weight"], other["decoder.classifier.weight"])
    assert any(not torch.equal(first[key], other[key]) for key in first if key.startswith("encoder."))


def test_the_decoder_starts_the_same_whether_the_encoder_is_random_or_read(tmp_path: Path) -> None:
    drawn = build_segmenter(NANO, CLASSES, seed=3)
    save_file(build_segmenter(NANO, CLASSES, seed=4).encoder.state_dict(), tmp_path / "nano.safetensors")
    read = build_segmenter(replace(NANO, weights=str(tmp_path / "nano.safetensors")), CLASSES, seed=3)
    assert not torch.equal(drawn.encoder.stem[0].weight, read.encoder.stem[0].weight)
    state = read.decoder.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in drawn.decoder.state_dict().items())


@pytest.mark.parametrize("keep_at", ["encoder", "classifier"])
def test_keep_of_ones_changes_nothing_and_of_zeros_removes_the_image(keep_at: str) -> None:
    model = build_segmenter(NANO, CLASSES)
    x = images(model, 4, 4)
    width = model.width if keep_at == "encoder" else model.decoder.features
    plain, ones, zeros = model(x), *(model(x, torch.full((2, width), fill), keep_at) for fill in (1.0, 0.0))
    assert torch.equal(plain, ones)
    assert not torch.allclose(plain[0], plain[1])
    torch.testing.assert_close(zeros[0], zeros[1])


def test_keep_belongs_to_one_sample_and_to_the_same_channels_of_all_levels() -> None:
    model = build_segmenter(NANO, CLASSES)
    x = images(model, 4, 4)
    keep_BD = torch.ones(2, model.width)
    keep_BD[1, ::2] = 0
    dropped = model(x, keep_BD)
    torch.testing.assert_close(dropped[0], model(x)[0])
    levels = model.encode(x)
    for level in levels:
        level[1, ::2] = 0
    torch.testing.assert_close(dropped, model.decoder(levels))


def test_keep_at_the_classifier_leaves_only_its_bias_when_all_is_dropped() -> None:
    model = build_segmenter(NANO, CLASSES)
    logits = model(images(model, 4, 4), torch.zeros(2, model.decoder.features), "classifier")
    torch.testing.assert_close(logits, model.decoder.classifier.bias.view(1, -1, 1, 1).expand_as(logits))


def test_two_frames_are_fused_to_their_absolute_difference() -> None:
    model = build_segmenter(NANO, 2, frames=2)
    x = images(model, 4, 4)
    single = build_segmenter(NANO, 2)
    single.load_state_dict(model.state_dict())
    a, b = single.encode(x[:, :1]), single.encode(x[:, 1:])
    for fused, level_a, level_b in zip(model.encode(x), a, b, strict=True):
        torch.testing.assert_close(fused, (level_a - level_b).abs(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x), model(x.flip(1)), rtol=1e-4, atol=1e-5)


def test_equal_frames_look_the_same_whatever_they_show() -> None:
    model = build_segmenter(NANO, 2, frames=2)
    x = images(model, 4, 4)
    logits = model(torch.stack((x[:, 0], x[:, 0]), dim=1))
    torch.testing.assert_close(logits[0], logits[1])


def test_a_frozen_encoder_does_not_train_and_the_decoder_does() -> None:
    model = build_segmenter(replace(NANO, freeze_encoder=True), CLASSES)
    model(images(model, 4, 4)).square().mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in model.encoder.parameters())
    assert model.decoder.project[0].weight.grad is not None


def test_normalize_takes_bytes_and_fractions_alike() -> None:
    model = build_segmenter(NANO, CLASSES)
    pixels = torch.randint(0, 256, (2, 1, 3, 8, 8), dtype=torch.uint8)
    from_bytes, from_fractions = model.normalize(pixels), model.normalize(pixels.double() / 255)
    assert from_bytes.dtype == from_fractions.dtype == torch.float32
    torch.testing.assert_close(from_bytes, from_fractions)
    expected = (pixels[0, 0, :, 0, 0] / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(from_bytes[0, 0, :, 0, 0], expected)


def test_normalisation_is_the_encoders_own_and_not_part_of_the_state() -> None:
    model = build_segmenter(CONFIGS["timm"], CLASSES)
    assert model.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert not {"mean", "std"} & model.state_dict().keys()


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (2, 2, 3, 16, 16), (2, 1, 4, 16, 16)])
def test_images_of_another_shape_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"\(B, 1, 3, H, W\)"):
        build_segmenter(NANO, CLASSES)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("config", "classes", "frames"),
    [
        (replace(NANO, features=0), CLASSES, 1),
        (replace(NANO, features=10**9), CLASSES, 1),
        (replace(NANO, level_widths=(8, 8, 8)), CLASSES, 1),
        (replace(NANO, decoder="dtp"), CLASSES, 1),
        (NANO, 0, 1),
        (NANO, CLASSES, 3),
    ],
)
def test_impossible_sizes_are_errors(config: ModelConfig, classes: int, frames: int) -> None:
    with pytest.raises(ModelError):
        build_segmenter(config, classes, frames)


def test_decoder_sizes_are_configured_or_published_or_derived() -> None:
    published = build_segmenter(CONFIGS["dinov2_small"], 21)
    assert published.decoder.features == 64
    assert [conv.out_channels for conv in published.decoder.project] == [48, 96, 192, 384]
    configured = build_segmenter(replace(NANO, features=24, level_widths=(8, 9, 10, 11)), CLASSES)
    assert configured.decoder.features == 24
    assert [conv.out_channels for conv in configured.decoder.project] == [8, 9, 10, 11]
    derived = build_segmenter(replace(CONFIGS["timm"], features=None), CLASSES)
    assert derived.decoder.features == 32
    assert [conv.out_channels for conv in derived.decoder.project] == [24, 48, 96, 192]


def test_the_published_number_of_parameters() -> None:
    model = build_segmenter(CONFIGS["dinov2_small"], 21)
    assert sum(p.numel() for p in model.encoder.parameters()) == pytest.approx(22.1e6, abs=5e4)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(24.8e6, abs=5e4)
