"""Row S2: names in a configuration are looked up in closed lists; nothing is imported or called by them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg.api import recipe_config, train
from semiseg.config import config_class, keys_of, make_config, to_dict
from semiseg.data.spec import read_spec
from semiseg.data.yaml_file import read_yaml
from semiseg.errors import ConfigError, DataError, ModelError, SemisegError
from semiseg.methods import find_method
from semiseg.models import ModelCard, ModelConfig, build_segmenter
from semiseg.models.card import card_from_json, card_to_json

NAMES = [
    *("os.system", "os:system", "semiseg.methods.supervised.Supervised", "builtins.eval", "!!python/name:os.system"),
    *("../x", "timm/hf-hub:someone/model", "timm/local-dir:/tmp", "timm/os.system"),
]
CALLS = [
    {"class_path": "os.system", "init_args": {"command": "true"}},
    {"_target_": "os.system", "command": "true"},
    {"__class__": "os.system"},
    {"py/object": "os.system"},
    {"!!python/object/apply:os.system": ["true"]},
]


@pytest.fixture
def bait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Put a module `bait` on the path; return whether it was imported."""
    (tmp_path / "bait.py").write_text("def run(*args, **kwargs):\n    raise AssertionError('called')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bait", raising=False)
    return lambda: "bait" in sys.modules


@pytest.mark.parametrize("name", NAMES)
def test_s02_a_name_is_looked_up_and_never_imported(name: str) -> None:
    config = make_config({}, ["--method", name, "--model.encoder", name, "--model.weights", "random"])
    assert (config.method, config.model.encoder) == (name, name)  # text, nothing else
    with pytest.raises(ConfigError, match=r"(?s)unknown method.*supervised, fixmatch, unimatch_v1"):
        find_method(config.method)
    with pytest.raises(ModelError, match=r"(?s)unknown encoder.*vit_nano"):
        build_segmenter(config.model, 2)


@pytest.mark.parametrize(
    "key", ["method", "published", "device", "data.spec", "data.split", "data.val", "model.encoder"]
)
@pytest.mark.parametrize("name", ["bait.run", "bait:run", "bait", "timm/bait.run", "hf_hub:bait/run"])
def test_s02_a_training_imports_nothing_that_its_configuration_names(
    key: str, name: str, bait: Callable[[], bool], tiny_words: Callable[..., list[str]]
) -> None:
    recipe, *words = tiny_words("x", f"--{key}", name)
    with pytest.raises(SemisegError):
        train(recipe_config(recipe, words))
    assert not bait()


@pytest.mark.parametrize("section", [None, *dict.fromkeys(key.split(".")[0] for key, _ in keys_of(config_class()))])
@pytest.mark.parametrize("call", CALLS)
def test_s02_a_key_that_would_name_code_is_unknown(section: str | None, call: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"unknown key|not a mapping|cannot be"):
        make_config(call if section is None else {section: call})
    key = f"--{section or 'data'}.{next(iter(call))}"
    with pytest.raises(ConfigError, match="unknown option"):
        make_config({}, [key, "os.system"])


def test_s02_a_value_is_text_a_number_or_a_list_of_them(bait: Callable[[], bool]) -> None:
    plain = to_dict(make_config({}))
    for key, _ in keys_of(config_class()):
        section, _, name = key.rpartition(".")
        for value in (CALLS[0], lambda: None, type, sys, b"x"):
            settings = {section: {name: value}} if section else {name: value}
            with pytest.raises(ConfigError, match=rf"{key} cannot be"):
                make_config(settings)
    assert {
        type(leaf) for part in plain.values() for leaf in (part.values() if isinstance(part, dict) else [part])
    } <= {*(str, int, float, bool, type(None), list)}


def test_s02_a_recipe_is_a_file_of_settings_and_not_a_module(bait: Callable[[], bool], tmp_path: Path) -> None:
    for recipe in ("bait", "bait.run", "bait:run", str(tmp_path / "bait.py")):
        with pytest.raises(ConfigError, match=r"no recipe|unknown key"):
            recipe_config(recipe)
    assert not bait()


@pytest.mark.parametrize("key", ["classes", "protocol", "score", "palette", "frames"])
def test_s02_the_description_of_a_data_set_holds_no_code(key: str, bait: Callable[[], bool], tmp_path: Path) -> None:
    given = {"classes": "[a, b]", key: "{class_path: bait.run}"}
    (tmp_path / "dataset.yaml").write_text("".join(f"{name}: {value}\n" for name, value in given.items()))
    assert read_yaml(tmp_path / "dataset.yaml", DataError)
    with pytest.raises(DataError):
        read_spec(tmp_path / "dataset.yaml")
    assert not bait()


@pytest.mark.parametrize("call", CALLS)
def test_s02_the_card_of_a_model_holds_no_code(call: dict[str, object], bait: Callable[[], bool]) -> None:
    card = ModelCard(classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), crop=28, model=ModelConfig(weights="random"))
    plain = card_to_json(card)
    for forged in (plain | call, plain | {"model": plain["model"] | call}, plain | {"model": call}):
        with pytest.raises(ModelError, match="unknown key"):
            card_from_json(forged, "config.json")
    for key in ("encoder", "decoder"):
        with pytest.raises(ModelError, match=rf"{key}.*bait\.run|wrong value of .model\.{key}"):
            build(plain | {"model": plain["model"] | {key: "bait.run"}})
    assert not bait()


def build(card: dict[str, object]) -> None:
    build_segmenter(card_from_json(card, "config.json").model, 2)
