from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from semiseg.errors import ModelError
from semiseg.models import ModelCard, ModelConfig, Segmenter, build_segmenter, load_model, read_card, save_model
from semiseg.models.readme import render_readme

NANO = ModelConfig(encoder="vit_nano", weights="random", features=8)


def make_card(model: ModelConfig = NANO, frames: int = 1) -> ModelCard:
    return ModelCard(
        classes=("road", "a | b"),
        palette=((128, 64, 128), (0, 0, 255)),
        frames=frames,
        crop=64,
        protocol="sliding",
        model=model,
        metrics={"miou": 0.71234, "iou/road": 0.9},
    )


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Segmenter]:
    segmenter = build_segmenter(NANO, 2, seed=5)
    save_model(tmp_path / "model", segmenter, make_card())
    return tmp_path / "model", segmenter


@pytest.mark.usefixtures("small_encoders")
@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize(
    "encoder",
    [
        *("vit_nano", "dinov2_small", "small_dinov2_reg", "small_dinov3", "small_clip", "small_sam", "small_beit"),
        *("small_mit", "small_resnet", "small_convnext", "small_swin"),
    ],
)
def test_round_trip_is_exact(tmp_path: Path, encoder: str, frames: int) -> None:
    config = replace(NANO, encoder=encoder)
    segmenter = build_segmenter(config, 2, frames, seed=5).to(memory_format=torch.channels_last).eval()
    save_model(tmp_path, segmenter, make_card(config, frames))
    loaded, card = load_model(tmp_path)
    assert card == make_card(config, frames)
    state = segmenter.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    side = 4 * max(segmenter.encoder.strides)
    images = torch.randn(1, frames, 3, side, side)
    torch.testing.assert_close(loaded(images), segmenter(images), rtol=1e-4, atol=1e-4)
    assert not loaded.training


def test_the_directory_holds_three_files_and_no_drafts(saved: tuple[Path, Segmenter]) -> None:
    assert sorted(path.name for path in saved[0].iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_saving_again_replaces_the_model_and_leaves_other_files(saved: tuple[Path, Segmenter]) -> None:
    directory, _ = saved
    (directory / "notes.txt").write_text("mine")
    other = build_segmenter(NANO, 2, seed=6)
    save_model(directory, other, replace(make_card(), metrics={"miou": 0.9}))
    loaded, card = load_model(directory)
    assert card.metrics == {"miou": 0.9}
    assert torch.equal(loaded.decoder.classifier.weight, other.decoder.classifier.weight)
    assert (directory / "notes.txt").read_text() == "mine"


def test_loading_never_asks_the_hub_and_the_card_keeps_the_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelConfig(weights="hub", features=8)
    save_model(tmp_path, build_segmenter(replace(config, weights="random"), 2), make_card(config))
    create = timm.create_model

    def offline(name: str, *, pretrained: bool, **options: Any) -> Any:
        assert not pretrained
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    segmenter, card = load_model(tmp_path)
    assert card.model.weights == "hub"
    assert segmenter.config.weights == "random"


def test_the_model_card_shows_classes_figures_and_use(saved: tuple[Path, Segmenter]) -> None:
    text = (saved[0] / "README.md").read_text()
    for row in ("| 0 | road | #804080 |", r"| 1 | a \| b | #0000ff |", "| miou | 0.7123 |"):
        assert row in text
    assert "semiseg predict DIR IMAGES" in text
    assert text.startswith("---\nlibrary_name: semiseg\n")


def test_the_model_card_states_the_licence_of_the_encoders_weights() -> None:
    config = ModelConfig(encoder="dinov3_small", license="dinov3")
    text = render_readme(make_card(config))
    assert "The encoder's weights are under the [DINOv3 License](https://ai.meta.com/" in text
    for free in (replace(config, weights="random"), replace(config, encoder="dinov2_small")):
        assert "License" not in render_readme(make_card(free))


def test_a_model_that_was_made_under_a_licence_loads_without_asking_for_it(tmp_path: Path) -> None:
    config = replace(NANO, license="dinov3")
    save_model(tmp_path, build_segmenter(config, 2), make_card(replace(config, weights="hub")))
    _, card = load_model(tmp_path)
    assert card.model.license == "dinov3"


def test_a_card_of_another_model_is_not_saved(tmp_path: Path) -> None:
    segmenter = build_segmenter(NANO, 2)
    for card in (make_card(frames=2), make_card(replace(NANO, features=9))):
        with pytest.raises(ModelError, match="another model"):
            save_model(tmp_path, segmenter, card)
    assert not list(tmp_path.iterdir())


def test_no_model_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is missing(.|\n)*remedy"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "[" * 10**5, '"x"', "\ud800", "1" * 5000])
def test_malformed_json_is_an_error(saved: tuple[Path, Segmenter], text: str) -> None:
    (saved[0] / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError):
        read_card(saved[0])


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown key": lambda config: config.update(hook="os.system"),
    "unknown model key": lambda config: config["model"].update(cls="Evil"),
    "missing key": lambda config: config.pop("classes"),
    "a word of version 1 of the wrong kind": lambda config: config["model"].update(freeze_encoder="yes"),
    "newer version": lambda config: config.update(version=99),
    "classes as text": lambda config: config.update(classes="ab"),
    "no classes": lambda config: config.update(classes=[], palette=[]),
    "control characters": lambda config: config.update(classes=["\x1b[2J", "b"]),
    "short palette": lambda config: config.update(palette=[[0, 0, 0]]),
    "colour out of range": lambda config: config.update(palette=[[0, 0, 0], [0, 0, 256]]),
    "colour as fraction": lambda config: config.update(palette=[[0, 0, 0], [0, 0, 0.5]]),
    "frames": lambda config: config.update(frames=3),
    "frames as truth": lambda config: config.update(frames=True),
    "crop": lambda config: config.update(crop=10**9),
    "protocol": lambda config: config.update(protocol="tiles"),
    "protocol as list": lambda config: config.update(protocol=["original"]),
    "metric": lambda config: config.update(metrics={"miou": "high"}),
    "metric not finite": lambda config: config.update(metrics={"miou": float("nan")}),
    "model": lambda config: config.update(model="vit_nano"),
    "encoder": lambda config: config["model"].update(encoder="vit_nono"),
    "encoder of a hub": lambda config: config["model"].update(encoder="timm/hf-hub:evil/model"),
    "encoder as list": lambda config: config["model"].update(encoder=["vit_nano"]),
    "decoder": lambda config: config["model"].update(decoder=None),
    "features": lambda config: config["model"].update(features=10**6),
    "licence": lambda config: config["model"].update(license="mit"),
    "licence as object": lambda config: config["model"].update(license={}),
    "level widths": lambda config: config["model"].update(level_widths=[8, 8, 8]),
    "another size": lambda config: config["model"].update(features=16),
    "another number of classes": lambda config: config.update(classes=["a"], palette=[[0, 0, 0]]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_wrong_config_is_an_error(saved: tuple[Path, Segmenter], name: str) -> None:
    path = saved[0] / "config.json"
    config = json.loads(path.read_text())
    CHANGES[name](config)
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError):
        load_model(saved[0])


def test_an_unknown_key_names_the_closest(saved: tuple[Path, Segmenter]) -> None:
    path = saved[0] / "config.json"
    path.write_text(path.read_text().replace('"crop"', '"crops"'))
    with pytest.raises(ModelError, match="'crops' in ModelCard; did you mean 'crop'"):
        load_model(saved[0])


@pytest.mark.parametrize("content", [b"", b"\x00" * 100])
def test_broken_weights_are_an_error(saved: tuple[Path, Segmenter], content: bytes) -> None:
    (saved[0] / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(saved[0])


def test_missing_weights_are_an_error(saved: tuple[Path, Segmenter]) -> None:
    (saved[0] / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no such file of weights"):
        load_model(saved[0])


@pytest.mark.parametrize(("frozen", "trains"), [(True, "decoder"), (False, "all")])
def test_a_model_of_version_1_can_be_read(saved: tuple[Path, Segmenter], frozen: bool, trains: str) -> None:
    path = saved[0] / "config.json"
    config = json.loads(path.read_text())
    for key in ("neck", "trains"):
        del config["model"][key]
    config["model"]["freeze_encoder"] = frozen
    config["version"] = 1
    path.write_text(json.dumps(config))
    assert read_card(saved[0]).model == replace(NANO, trains=trains)
