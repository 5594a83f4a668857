"""What every segmenter keeps: one test class for all families of encoders, in small versions of the large ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, Segmenter, build_segmenter
from semiseg.models.dpt import resize_bilinear

CLASSES = 5
CONFIGS = {
    "vit_nano": ModelConfig(encoder="vit_nano", weights="random"),
    "vit_micro": ModelConfig(encoder="vit_micro", weights="random"),
    "dinov2_small": ModelConfig(encoder="dinov2_small", weights="random"),
    "timm": ModelConfig(encoder="timm/vit_tiny_patch16_224", weights="random", features=16),
    **{
        family: ModelConfig(encoder=f"small_{family}", weights="random")
        for family in ("dinov2_reg", "dinov3", "clip", "sam", "beit", "mit", "resnet")
    },
}
NANO = CONFIGS["vit_nano"]


@pytest.fixture(scope="module", params=CONFIGS)
def segmenter(request: pytest.FixtureRequest, small_encoders: None) -> Segmenter:
    """Return a segmenter in eval mode. What starts at zero would hide what lies behind it, so nothing does."""
    model = build_segmenter(CONFIGS[request.param], CLASSES).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def images(model: Segmenter, rows: int, columns: int, batch: int = 2) -> Tensor:
    unit = max(model.encoder.strides)
    shape = (batch, model.frames, 3, rows * unit, columns * unit)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class TestEverySegmenter:
    @pytest.mark.parametrize(("rows", "columns"), [(14, 14), (3, 5), (1, 2)])
    def test_gives_logits_of_the_input_size(self, segmenter: Segmenter, rows: int, columns: int) -> None:
        x = images(segmenter, rows, columns)
        logits = segmenter(x)
        assert logits.shape == (2, CLASSES, *x.shape[-2:])
        assert logits.isfinite().all()

    def test_gives_four_levels_of_the_encoders_widths_and_strides(self, segmenter: Segmenter) -> None:
        x = images(segmenter, 7, 5)
        height, width = x.shape[-2:]
        encoder = segmenter.encoder
        expected = [
            (2, channels, height // stride, width // stride)
            for channels, stride in zip(encoder.widths, encoder.strides, strict=True)
        ]
        assert [tuple(level.shape) for level in segmenter.encode(x)] == expected
        assert segmenter.width == max(encoder.widths)

    def test_gradients_reach_every_trainable_parameter(self, segmenter: Segmenter) -> None:
        segmenter.zero_grad()
        segmenter(images(segmenter, 14, 14)).square().mean().backward()
        trainable = {name for name, p in segmenter.named_parameters() if p.requires_grad}
        reached = {name for name, p in segmenter.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached == trainable

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

    def test_two_frames_are_told_apart_from_one_shown_twice(self, segmenter: Segmenter) -> None:
        pair = build_segmenter(segmenter.config, CLASSES, frames=2).eval()
        pair.load_state_dict(segmenter.state_dict())
        x = images(pair, 3, 2)
        logits, still = pair(x), pair(x[:, :1].expand_as(x))
        assert logits.shape == (2, CLASSES, *x.shape[-2:])
        torch.testing.assert_close(still[0], still[1], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(logits[0], still[0])


@pytest.mark.parametrize("name", ["vit_nano", "dinov2_small"])
def test_a_side_off_the_patch_is_an_error_that_names_the_nearest_size(name: str) -> None:
    segmenter = build_segmenter(CONFIGS[name], CLASSES)
    side = 4 * segmenter.patch
    with pytest.raises(ModelError, match=f"multiples of {segmenter.patch}(.|\n)*to {side} x {side}"):
        segmenter(torch.zeros(1, 1, 3, side + 1, side))


@pytest.mark.usefixtures("small_encoders")
@pytest.mark.parametrize("name", ["mit", "resnet"])
def test_a_pyramid_takes_any_size(name: str) -> None:
    segmenter = build_segmenter(CONFIGS[name], CLASSES).eval()
    assert segmenter(torch.randn(1, 1, 3, 37, 53)).shape == (1, CLASSES, 37, 53)


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


@pytest.mark.usefixtures("small_encoders")
def test_a_narrower_level_takes_the_first_channels_of_keep() -> None:
    model = build_segmenter(CONFIGS["resnet"], CLASSES).eval()
    assert len(set(model.encoder.widths)) == 4
    x = images(model, 2, 2)
    keep_BD = 2 * torch.randint(0, 2, (2, model.width), generator=torch.Generator().manual_seed(3)).float()
    levels = [level * keep_BD[:, : level.shape[1], None, None] for level in model.encode(x)]
    expected = resize_bilinear(model.decoder(levels), (64, 64))
    torch.testing.assert_close(model(x, keep_BD), expected)


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


@pytest.mark.usefixtures("small_encoders")
@pytest.mark.parametrize("frozen", [True, False])
def test_the_batch_norms_of_a_frozen_encoder_do_not_learn(frozen: bool) -> None:
    model = build_segmenter(replace(CONFIGS["resnet"], freeze_encoder=frozen), CLASSES).train()
    before = {key: value.clone() for key, value in model.encoder.named_buffers()}
    model(images(model, 2, 2))
    assert all(torch.equal(before[key], value) for key, value in model.encoder.named_buffers()) == frozen
    assert model.decoder.training


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
