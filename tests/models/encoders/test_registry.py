from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from semiseg.download import RemoteFile
from semiseg.errors import ModelError, SemisegError
from semiseg.models import ModelConfig, build_segmenter
from semiseg.models.encoders import ENCODERS, build_encoder, encoder_spec, needed_license, registry

META = torch.device("meta")


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.fixture(autouse=True)
def _numbers_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let encoders be built on `meta` that read numbers from a tensor meanwhile, which a meta tensor does not have."""
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Stand in for the hub: say which model of timm was asked for, and whether with weights, and give random ones."""
    asked = {}
    create = timm.create_model

    def without_network(name: str, *, pretrained: bool, **options: Any) -> Any:
        asked[name] = pretrained
        with META:
            return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", without_network)
    return asked


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


@pytest.mark.parametrize("name", ["vit_nano", "vit_micro", "clip_nano"])
def test_our_own_encoders_have_no_weights_on_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match=r"--model\.weights random"):
        build_encoder(name, "hub")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("dinov2_small", "vit_small_patch14_dinov2.lvd142m"),
        ("dinov2_giant_reg", "vit_giant_patch14_reg4_dinov2.lvd142m"),
        ("beit_base", "beit_base_patch16_224.in22k_ft_in22k_in1k"),
        ("sam_large", "samvit_large_patch16.sa1b"),
        ("clip_base", "vit_base_patch16_clip_quickgelu_224.openai"),
        ("clip_base_text", "vit_base_patch16_clip_quickgelu_224.openai"),
        ("resnet152", "resnet152s.gluon_in1k"),
        ("resnet101", "resnet101s.gluon_in1k"),
        ("xception65", "xception65.tf_in1k"),
    ],
)
def test_the_published_weights_are_asked_of_the_hub(hub: dict[str, bool], name: str, asked: str) -> None:
    build_encoder(name, "hub")
    assert hub == {asked: True}
    assert timm.is_model_pretrained(asked)


def test_the_registry_is_the_documented_one() -> None:
    sizes = ("small", "base", "large", "giant")
    assert list(ENCODERS) == [
        *(f"dinov2_{size}" for size in sizes),
        *(f"dinov2_{size}_reg" for size in sizes),
        *(f"dinov3_{size}" for size in sizes[:3]),
        *("beit_base", "beit_large", "sam_base", "sam_large"),
        *("clip_base", "clip_base_text", "clip_base_text_resnet"),
        *(f"mit_b{size}" for size in range(6)),
        "resnet152",
        *("resnet50", "resnet101", "xception65", "efficientnet_lite0", "vit_nano", "vit_micro", "clip_nano"),
    ]


@pytest.mark.parametrize("name", [name for name in ENCODERS if not name.startswith(("mit", "vit"))])
def test_every_large_encoder_gives_its_four_levels(name: str) -> None:
    with META:
        encoder = build_encoder(name, "random")
        side = 2 * max(encoder.strides)
        levels = encoder(torch.empty(1, 3, side, side))
    expected = [
        (1, width, side // stride, side // stride)
        for width, stride in zip(encoder.widths, encoder.strides, strict=True)
    ]
    assert [tuple(level.shape) for level in levels] == expected


@pytest.mark.parametrize("size", ["large", "giant"])
def test_the_large_vits_have_the_published_levels(size: str) -> None:
    names = [name for name in ENCODERS if size in name]
    with META:
        taken = {tuple(build_encoder(name, "random").taken) for name in names}
    assert taken == {{"large": (4, 11, 17, 23), "giant": (9, 19, 29, 39)}[size]}


@pytest.mark.parametrize(
    ("name", "encoder", "with_21_classes", "with_150_classes"),
    [
        ("dinov2_small", 22.1, 24.8, 24.8),
        ("dinov2_base", 86.6, 97.5, 97.5),
        ("dinov2_large", 304.4, 335.6, 335.6),
        ("beit_base", 86.2, 97.2, 97.2),
        ("beit_large", 304.6, 335.9, 335.9),
        ("sam_base", 88.9, 99.8, 99.8),
        ("sam_large", 307.4, 338.6, 338.7),
        ("mit_b5", 81.4, 99.2, 99.2),
        ("resnet152", 58.3, 78.5, 78.6),
    ],
)
def test_the_published_numbers_of_parameters(
    name: str, encoder: float, with_21_classes: float, with_150_classes: float
) -> None:
    for classes, total in ((21, with_21_classes), (150, with_150_classes)):
        with META:
            model = build_segmenter(ModelConfig(encoder=name, weights="random"), classes)
        assert round(millions(model.encoder), 1) == encoder
        assert round(millions(model), 1) == total


def test_the_network_of_allspark_has_the_published_number_of_parameters() -> None:
    config = ModelConfig(encoder="mit_b5", neck="allspark", decoder="segformer", weights="random")
    with META:
        assert sum(p.numel() for p in build_segmenter(config, 21).parameters()) == 89_331_157


@pytest.mark.parametrize("weights", ["hub", "weights.safetensors"])
@pytest.mark.parametrize(
    ("name", "needed", "title"),
    [
        ("dinov3_small", "dinov3", "DINOv3 License"),
        ("timm/vit_small_patch16_dinov3", "dinov3", "DINOv3 License"),
        ("mit_b0", "segformer", "NVIDIA Source Code License"),
        ("mit_b5", "segformer", "NVIDIA Source Code License"),
    ],
)
def test_weights_that_are_not_free_want_their_licence_accepted(
    name: str, needed: str, title: str, weights: str
) -> None:
    assert needed_license(name) == needed
    other = {"dinov3": "segformer", "segformer": "dinov3"}[needed]
    for accepted in (None, other):
        with pytest.raises(ModelError, match=rf"{title}(.|\n)*https://(.|\n)*--model\.license {needed}"):
            build_encoder(name, weights, accepted)


def test_an_accepted_licence_opens_the_weights(hub: dict[str, bool]) -> None:
    build_encoder("dinov3_small", "hub", "dinov3")
    assert hub == {"vit_small_patch16_dinov3.lvd1689m": True}


def test_random_weights_need_no_licence(hub: dict[str, bool]) -> None:
    build_encoder("dinov3_small", "random")
    assert hub == {"vit_small_patch16_dinov3.lvd1689m": False}


def test_an_unknown_licence_names_the_closest() -> None:
    with pytest.raises(ModelError, match="did you mean 'dinov3'"):
        build_encoder("vit_nano", "random", "dino3")


@pytest.mark.parametrize("name", ["dinov2_small", "dinov2_base_reg", "vit_nano", "timm/vit_tiny_patch16_224"])
def test_other_weights_need_no_licence(name: str) -> None:
    assert needed_license(name) is None


def test_metas_own_file_is_fetched_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {key: value + 1 for key, value in build_encoder("dinov2_small", "random").core().state_dict().items()}
    torch.save(state, tmp_path / "meta.pth")
    asked = []

    def without_network(file: RemoteFile, error: type[SemisegError]) -> Path:
        asked.append((file, error))
        return tmp_path / "meta.pth"

    monkeypatch.setattr(registry, "download", without_network)
    loaded = build_encoder("dinov2_small", "meta").core().state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    ((file, error),) = asked
    assert file.name == "dinov2_vits14_pretrain.pth"
    assert error is ModelError


@pytest.mark.parametrize("name", ["beit_base", "vit_nano", "timm/vit_tiny_patch16_224"])
def test_meta_has_files_of_dinov2_alone(name: str) -> None:
    with pytest.raises(ModelError, match=r"no file of Meta's(.|\n)*dinov2_giant_reg(.|\n)*--model\.weights hub"):
        build_encoder(name, "meta")
