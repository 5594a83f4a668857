from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, Segmenter, build_segmenter, describe_classes, load_model, save_model, texts
from semiseg.models.card import ModelCard
from semiseg.models.texts import embed_texts

CLASSES = {"soil": ("soil", "bare ground", "mud"), "crop": ("crop",)}
RANDOM = ModelConfig(encoder="small_clip_text", decoder="semivl", weights="random")
TOWER = "semiseg-small"
"""What the small encoder says its texts come from."""

pytestmark = pytest.mark.usefixtures("small_encoders", "cache")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def open_clip(tmp_path: Path) -> Any:
    """Return the real open_clip, which also knows a small model."""
    open_clip = pytest.importorskip("open_clip")
    small = {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "patch_size": 16, "width": 32, "head_width": 16, "layers": 4},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    (tmp_path / f"{TOWER}.json").write_text(json.dumps(small))
    open_clip.add_model_config(tmp_path / f"{TOWER}.json")
    return open_clip


@pytest.fixture
def weights(open_clip: Any, tmp_path: Path) -> Path:
    """Write random weights of both towers, as open_clip saves them."""
    torch.manual_seed(5)
    path = tmp_path / "clip.safetensors"
    save_file(open_clip.create_model(TOWER).state_dict(), path)
    return path


def built(config: ModelConfig) -> Segmenter:
    return build_segmenter(config, len(CLASSES))


def text_of(model: Segmenter) -> Tensor:
    return model.decoder.get_buffer("text_KC")


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def test_texts_are_computed_by_the_text_tower_of_the_encoders_file(open_clip: Any, weights: Path, cache: Path) -> None:
    model = built(replace(RANDOM, weights=str(weights)))
    state = torch.get_rng_state()
    told = describe_classes(model, CLASSES, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    theirs = open_clip.create_model(TOWER)
    theirs.load_state_dict(load_file(weights))
    with torch.inference_mode():
        expected = theirs.eval().encode_text(open_clip.get_tokenizer(TOWER)(["a photo of a soil", "a photo of a crop"]))
    torch.testing.assert_close(text_of(model), unit(expected))
    assert told is not None
    assert str(cache) in told
    assert "its name" in told


def test_texts_are_computed_once(open_clip: Any, weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(RANDOM, weights=str(weights))
    first, second = built(config), built(config)
    describe_classes(first, CLASSES, seed=0)
    (kept,) = cache.rglob("*.safetensors")
    monkeypatch.setattr(texts, "_open_clip", lambda: pytest.fail("computed again"))
    describe_classes(second, CLASSES, seed=0)
    assert torch.equal(text_of(first), text_of(second))
    # What was kept is a file for --model.text, on machines without open_clip or network.
    given = built(replace(RANDOM, text=str(kept)))
    assert str(kept) in str(describe_classes(given, CLASSES, seed=0))
    assert torch.equal(text_of(given), text_of(first))


def test_other_weights_have_other_texts(open_clip: Any, weights: Path, cache: Path) -> None:
    model = built(replace(RANDOM, weights=str(weights)))
    describe_classes(model, CLASSES, seed=0)
    before = text_of(model).clone()
    save_file({key: 2 * value for key, value in load_file(weights).items()}, weights)
    describe_classes(model, CLASSES, seed=0)
    assert not torch.allclose(text_of(model), before)
    assert len(list(cache.rglob("*.safetensors"))) == 2


def test_concepts_are_averaged_at_their_own_lengths(tmp_path: Path) -> None:
    found = {text: torch.randn(24) * scale for scale, text in enumerate(("soil", "bare ground", "mud", "crop"), 1)}
    save_file(found, tmp_path / "t.safetensors")
    model = built(replace(RANDOM, text=str(tmp_path / "t.safetensors"), text_of="concepts"))
    told = describe_classes(model, CLASSES, seed=0)
    mean = (found["soil"] + found["bare ground"] + found["mud"]) / 3
    torch.testing.assert_close(text_of(model), torch.stack((unit(mean), unit(found["crop"]))))
    assert "the mean of its concepts" in str(told)


def test_with_random_weights_texts_are_random_by_the_seed_and_that_is_said() -> None:
    model = built(RANDOM)
    assert "RANDOM" in str(describe_classes(model, CLASSES, seed=1))
    first = text_of(model).clone()
    describe_classes(model, CLASSES, seed=1)
    assert torch.equal(text_of(model), first)
    describe_classes(model, CLASSES, seed=2)
    assert not torch.equal(text_of(model), first)
    same = embed_texts(["crop", "soil", "crop"], model.encoder, RANDOM, seed=1)
    assert torch.equal(same[0], same[2])
    torch.testing.assert_close(unit(same[1]), first[0])


def test_other_decoders_need_no_texts() -> None:
    assert describe_classes(build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), 2), CLASSES, 0) is None


def test_a_saved_model_has_its_texts(tmp_path: Path) -> None:
    model = built(replace(RANDOM, weights="random"))
    describe_classes(model, CLASSES, seed=3)
    palette = ((0, 0, 0), (1, 1, 1))
    save_model(tmp_path / "m", model, ModelCard(classes=tuple(CLASSES), palette=palette, crop=64, model=model.config))
    assert torch.equal(text_of(load_model(tmp_path / "m")[0]), text_of(model))


def test_without_the_extra_the_error_names_it(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    model = built(replace(RANDOM, weights=str(weights)))
    monkeypatch.setattr(texts, "import_module", missing)
    with pytest.raises(ModelError, match=r"semiseg\[semivl\](.|\n)*--model\.text FILE"):
        describe_classes(model, CLASSES, seed=0)


@pytest.mark.usefixtures("open_clip")
def test_a_file_without_a_text_tower_is_an_error(weights: Path) -> None:
    save_file({key: value for key, value in load_file(weights).items() if key.startswith("visual.")}, weights)
    model = built(replace(RANDOM, weights=str(weights)))
    with pytest.raises(ModelError, match=r"no text encoder that fits: 3\d tensors missing(.|\n)*--model\.text"):
        describe_classes(model, CLASSES, seed=0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, r"no embedding of 'crop', 'soil'"),
        ({"soil": (24,), "crop": (23,)}, r"no embedding of 'crop'"),
    ],
)
def test_a_file_of_other_texts_is_an_error(content: dict[str, tuple[int, ...]], says: str, tmp_path: Path) -> None:
    save_file({"sky": torch.zeros(24), **{k: torch.zeros(v) for k, v in content.items()}}, tmp_path / "t.safetensors")
    model = built(replace(RANDOM, text=str(tmp_path / "t.safetensors")))
    with pytest.raises(ModelError, match=says):
        describe_classes(model, CLASSES, seed=0)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such file of text embeddings(.|\n)*--model\.text"):
        describe_classes(built(replace(RANDOM, text=str(tmp_path / "none"))), CLASSES, seed=0)


def test_the_tower_of_the_registry_is_known_to_open_clip_with_its_activation() -> None:
    found = pytest.importorskip("open_clip").get_model_config("ViT-B-16-quickgelu")
    assert (found["embed_dim"], found["quick_gelu"]) == (512, True)
