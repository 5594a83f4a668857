"""What every segmenter keeps: one test class for all families of encoders, in small versions of the large ones."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models import DECODERS, NECKS, ModelConfig, Neck, Segmenter, build_segmenter

CLASSES = 5
CONFIGS = {
    "vit_nano": ModelConfig(encoder="vit_nano", weights="random"),
    "vit_micro": ModelConfig(encoder="vit_micro", weights="random"),
    "dinov2_small": ModelConfig(encoder="dinov2_small", weights="random"),
    "timm": ModelConfig(encoder="timm/vit_tiny_patch16_224", weights="random", features=16),
    **{
        family: ModelConfig(encoder=f"small_{family}", weights="random")
        for family in ("dinov2_reg", "dinov3", "clip", "clip_text", "sam", "beit", "mit", "resnet", "convnext", "swin")
    },
    "segformer": ModelConfig(encoder="small_mit", weights="random", decoder="segformer", features=24),
    "semivl": ModelConfig(encoder="small_clip_text", decoder="semivl", weights="random"),
    "semivl_resnet": ModelConfig(encoder="small_clip_text_resnet", decoder="semivl", weights="random"),
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
    state = build_segmenter(NANO, CLASSES, seed=4).encoder.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "nano.safetensors")
    read = build_segmenter(replace(NANO, weights=str(tmp_path / "nano.safetensors")), CLASSES, seed=3)
    assert not torch.equal(drawn.encoder.stem[0].weight, read.encoder.stem[0].weight)
    state = read.decoder.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in drawn.decoder.state_dict().items())


def test_gradients_lie_as_their_weights_do_which_distributed_training_minds() -> None:
    model = build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), 3)
    model(torch.randn(1, 1, 3, 32, 32)).sum().backward()
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert any(weight.ndim == 4 and weight.shape[1] == 1 for weight in learned.values()), "a depthwise one among them"
    for name, weight in learned.items():
        assert weight.grad is not None
        assert weight.grad.stride() == weight.stride(), name


@pytest.mark.usefixtures("small_encoders")
def test_maps_lie_channels_last_and_weights_stay_so_when_copied_or_loaded() -> None:
    model = build_segmenter(ModelConfig(encoder="small_resnet", weights="random"), CLASSES).eval()
    copied = deepcopy(model)
    copied.load_state_dict({key: value.contiguous() for key, value in model.state_dict().items()})
    for network in (model, copied):
        maps = [*network.encode(images(network, 2, 3)), network.decoder(network.encode(images(network, 2, 3)))]
        assert all(map_BDHW.is_contiguous(memory_format=torch.channels_last) for map_BDHW in maps)
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                assert module.weight.is_contiguous(memory_format=torch.channels_last), name


def test_a_hook_changes_the_levels_and_may_enlarge_the_batch() -> None:
    model = build_segmenter(NANO, CLASSES)
    x = images(model, 4, 4)
    both = model(x, at_levels=lambda levels: [torch.cat((level, 2 * level)) for level in levels])
    torch.testing.assert_close(both[:2], model(x))
    torch.testing.assert_close(both[2:], model.decoder([2 * level for level in model.encode(x)]))


@pytest.mark.usefixtures("small_encoders")
@pytest.mark.parametrize("decoder", DECODERS)
def test_a_hook_before_the_classifier_sees_the_features_of_every_decoder(decoder: str) -> None:
    family = "semivl" if decoder == "semivl" else "resnet"  # the one compares with texts, others take any encoder
    model = build_segmenter(replace(CONFIGS[family], decoder=decoder), CLASSES).eval()
    seen: list[Tensor] = []

    def twice(features_BFHW: Tensor) -> Tensor:
        seen.append(features_BFHW)
        return torch.cat((features_BFHW, features_BFHW))

    x = images(model, 2, 2)
    torch.testing.assert_close(model(x, at_features=twice), model(x).repeat(2, 1, 1, 1))
    assert seen[0].shape[1] == model.decoder.features


class Doubling(Neck):
    """A neck with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, levels_BDHW: list[Tensor]) -> list[Tensor]:
        return [self.factor * level for level in levels_BDHW]


def test_a_neck_stands_between_encoder_and_decoder_and_a_hook_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NECKS, "doubling", lambda encoder, config: Doubling())
    model, plain = build_segmenter(replace(NANO, neck="doubling"), CLASSES), build_segmenter(NANO, CLASSES)
    assert model.state_dict().keys() - plain.state_dict().keys() == {"neck.factor"}
    x = images(model, 4, 4)
    torch.testing.assert_close(model(x), plain(x, at_levels=lambda levels: [2 * level for level in levels]))
    torch.testing.assert_close(model(x, at_levels=lambda levels: levels), plain(x))


def test_logits_are_exact_under_autocast_where_the_features_are() -> None:
    model = build_segmenter(NANO, CLASSES)
    features_BFHW = torch.randn(2, model.decoder.features, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.decoder(model.encode(images(model, 4, 4)), at_features=lambda _: features_BFHW)
    assert torch.equal(rounded, model.decoder.classifier(features_BFHW))


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
    model = build_segmenter(replace(NANO, trains="decoder"), CLASSES)
    model(images(model, 4, 4)).square().mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in model.encoder.parameters())
    assert model.decoder.project[0].weight.grad is not None


@pytest.mark.usefixtures("small_encoders")
@pytest.mark.parametrize("frozen", [True, False])
def test_the_batch_norms_of_a_frozen_encoder_do_not_learn(frozen: bool) -> None:
    model = build_segmenter(replace(CONFIGS["resnet"], trains="decoder" if frozen else "all"), CLASSES).train()
    before = {key: value.clone() for key, value in model.encoder.named_buffers()}
    model(images(model, 2, 2))
    assert all(torch.equal(before[key], value) for key, value in model.encoder.named_buffers()) == frozen
    assert model.decoder.training


def test_attention_alone_trains_of_a_vit_and_of_nothing_else() -> None:
    model = build_segmenter(replace(CONFIGS["timm"], trains="attention"), CLASSES)
    trained = {name for name, p in model.encoder.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in model.encoder.named_parameters() if ".attn." in n or n.endswith("pos_embed")}
    assert any(name.endswith("pos_embed") for name in trained)
    with pytest.raises(ModelError, match="no attention to train"):
        build_segmenter(ModelConfig(encoder="resnet152", weights="random", trains="attention"), CLASSES)


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
        (replace(NANO, neck="dtp"), CLASSES, 1),
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
