from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.cli.settings_help import settings_help
from semiseg.config import FREE_ON_RESUME, Config, config_class, make_config, to_dict
from semiseg.errors import ConfigError
from semiseg.methods import METHODS, find_method
from semiseg.methods.supervised import Supervised
from semiseg.recipes import load_recipe, shipped_recipes


def recipe(folder: Path, text: str) -> str:
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


def made(folder: Path, text: str, *overrides: str) -> Config:
    return make_config(load_recipe(recipe(folder, text)), overrides)


def message(*overrides: str, **given: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        make_config(given, overrides, where="recipe x")
    assert "remedy:" in str(raised.value)
    return str(raised.value)


# Recipes


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_parses_and_comes_back_from_what_a_run_writes(name: str, tmp_path: Path) -> None:
    config = make_config(load_recipe(name))
    assert config.recipe == name
    assert find_method(config.method)
    assert make_config(to_dict(config)) == config
    written = tmp_path / "config.yaml"
    written.write_text(yaml.safe_dump(to_dict(config), sort_keys=False))
    assert make_config(load_recipe(str(written))) == config
    assert make_config(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_begins_with_a_line_about_itself(name: str) -> None:
    first = shipped_recipes()[name].read_text().splitlines()[0]
    assert first.startswith("# ")
    assert "semiseg" in first


def test_numbers_of_a_shipped_recipe_are_numbers() -> None:
    config = make_config(load_recipe("camvid-cpu"))
    assert isinstance(config.optimizer.lr, float)
    assert isinstance(config.schedule.steps, int)
    assert [type(scale) for scale in config.data.scale] == [float, float]


@pytest.mark.parametrize("method", ["supervised", "unimatch_v2"])
@pytest.mark.parametrize("steps_per_epoch", [1, 6, 62_500])  # 24 labels, 100 and a million unlabeled images
def test_the_default_length_and_its_evaluations_do_not_hang_on_the_folder(method: str, steps_per_epoch: int) -> None:
    config = make_config(load_recipe("default"), ["--method", method])
    assert config.schedule.steps == 6000
    assert config.evaluation.steps_between(steps_per_epoch, config.schedule.steps) == 300


def test_an_override_beats_the_recipe_and_the_recipe_the_default(tmp_path: Path) -> None:
    text = "seed: 1\nschedule: {batch: 2, epochs: 3}\n"
    config = made(tmp_path, text, "--schedule.batch", "8", "--data.crop=28")
    assert (config.seed, config.schedule.batch, config.schedule.epochs, config.data.crop) == (1, 8, 3, 28)
    assert config.schedule.ema_decay == Config().schedule.ema_decay
    assert made(tmp_path, text, "--seed", "4", "--seed", "5").seed == 5


def test_nothing_named_gives_the_defaults(tmp_path: Path) -> None:
    assert make_config({}) == Config()
    assert made(tmp_path, "method: unimatch_v2") == dataclasses.replace(Config(), recipe="mine")


@pytest.mark.parametrize("split", ["1_8", "1_16", "30", "007", "1e3", "1:30", "2026-01-01", "on", "0x10", "a b", "~x"])
def test_a_split_is_text_however_it_is_written(tmp_path: Path, split: str) -> None:
    assert made(tmp_path, f"data:\n  split: {split}\n").data.split == split
    assert made(tmp_path, f"data:\n  split: '{split}'\n").data.split == split
    assert make_config({"data": {"split": split}}).data.split == split
    for overrides in (["--data.split", split], [f"--data.split={split}"]):
        assert make_config({}, overrides).data.split == split


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("1.0e-3", 1e-3), ("5E-6", 5e-6), ("1", 1.0), (".5", 0.5)])
def test_a_rate_is_a_number_however_it_is_written(tmp_path: Path, text: str, value: float) -> None:
    assert made(tmp_path, f"optimizer:\n  lr: {text}\n").optimizer.lr == value
    assert make_config({}, ["--optimizer.lr", text]).optimizer.lr == value


def test_lists_are_tuples_however_they_are_written(tmp_path: Path) -> None:
    block = made(tmp_path, "data:\n  scale:\n  - 0.75\n  - 1e0\n  unlabeled:\n  - a\n  - 2021\n")
    assert (block.data.scale, block.data.unlabeled) == ((0.75, 1.0), ("a", "2021"))
    flow = make_config({}, ["--data.scale", "[0.75, 1]", "--data.unlabeled", "[a, b c]"])
    assert (flow.data.scale, flow.data.unlabeled) == ((0.75, 1.0), ("a", "b c"))
    assert make_config({}, ["--data.unlabeled", "a"]).data.unlabeled == "a"
    assert make_config({}, ["--model.level_widths", "[1, 2, 3, 4]"]).model.level_widths == (1, 2, 3, 4)
    assert made(tmp_path, "model: {level_widths: [1, 2, 3, 4]}").model.level_widths == (1, 2, 3, 4)


def test_null_and_truth_are_read(tmp_path: Path) -> None:
    config = made(
        tmp_path, "model: {trains: decoder}\nconsistency: {average: true}\nschedule: {steps: null}\ndata: {split: }\n"
    )
    assert config.consistency.average is True
    assert config.schedule.steps is None
    assert config.data.split is None
    assert make_config({"schedule": {"steps": 5}}, ["--schedule.steps", "null"]).schedule.steps is None


@settings(max_examples=15, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**31),
            "precision": st.sampled_from(["auto", "fp32", "bf16"]),
            "run": st.fixed_dictionaries({"name": st.from_regex(r"[a-zA-Z0-9_.:+-]{1,11}", fullmatch=True)}),
            "data": st.fixed_dictionaries(
                {
                    "split": st.none() | st.from_regex(r"[a-z0-9_.e-]{1,8}", fullmatch=True),
                    "scale": st.tuples(st.floats(0.1, 1), st.floats(1, 4)),
                    "unlabeled": st.lists(st.from_regex(r"[a-z0-9/_.]{1,8}", fullmatch=True), max_size=3),
                }
            ),
            "optimizer": st.fixed_dictionaries({"lr": st.floats(1e-9, 1)}),
        },
    )
)
def test_any_configuration_comes_back_from_the_file_that_a_run_writes(given: dict[str, Any]) -> None:
    config = make_config(given)
    assert make_config(yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config


def test_text_that_looks_like_null_or_a_list_is_text_but_on_the_command_line(tmp_path: Path) -> None:
    for text in ("null", "~", "[a, b]", ""):
        given = {"data": {"split": text, "unlabeled": text}}
        config = make_config(given)
        assert (config.data.split, config.data.unlabeled) == (text, text)
        assert make_config(to_dict(config)) == config
    assert make_config({}, ["--data.split", "[a, b]", "--data.unlabeled", "[2021] photos"]).data.split == "[a, b]"
    assert make_config({}, ["--data.unlabeled", "[2021] photos"]).data.unlabeled == "[2021] photos"
    assert make_config({}, ["--data.split="]).data.split == ""


def test_a_negative_number_is_a_value_and_another_dash_an_option() -> None:
    assert make_config({}, ["--data.workers", "-1"]).data.workers == -1
    assert make_config({}, ["--run.name=-x"]).run.name == "-x"
    for words in (["--seed"], ["--seed", "--data.root", "x"], ["--run.name", "-x"], ["--run.name", "--", "x"]):
        shown = message(*words)
        assert f"{words[0]} has no value" in shown
        assert f"write {words[0]}=VALUE" in shown


def test_an_override_mends_what_the_recipe_has_wrong(tmp_path: Path) -> None:
    text = "schedule: {batch: many}\ndata: {scale: [2, 1]}\n"
    config = made(tmp_path, text, "--schedule.batch", "4", "--data.scale", "[1, 2]")
    assert (config.schedule.batch, config.data.scale) == (4, (1.0, 2.0))


# A method brings its own section


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Settings of the toy alone."""

    strength: float = 0.5
    """How hard the toy tries."""
    kind: Literal["red", "blue"] = "red"
    """Colour of the toy."""

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise ConfigError("strength is negative", where="toy.strength", remedy="correct --toy.strength")


class Toy(Supervised):
    config_class = ToyConfig


def test_a_method_registered_at_run_time_has_its_section_checks_and_help(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Config()
    monkeypatch.setitem(METHODS, "toy", Toy)
    config: Any = make_config({"toy": {"strength": "2e-1"}}, ["--toy.kind", "blue"])
    assert config.toy == ToyConfig(strength=0.2, kind="blue")
    assert make_config(to_dict(config)) == config == Config(toy=config.toy)  # type: ignore[call-arg]
    assert to_dict(config)["toy"] == {"strength": 0.2, "kind": "blue"}
    assert "did you mean '--toy.strength'" in message("--toy.strong", "1")
    assert "expected: red or blue" in message("--toy.kind", "green")
    assert "toy.strength" in message(toy={"strength": -1})
    assert "How hard the toy tries. (a number; default: 0.5)" in " ".join(settings_help().split())
    monkeypatch.undo()
    assert config_class() is type(before)
    assert "unknown key 'toy'" in message(toy={})


def test_a_method_without_settings_has_no_section() -> None:
    assert not hasattr(Config(), "supervised")
    assert "unknown key 'supervised'" in message(supervised={})


@pytest.mark.parametrize("name", ["data", "seed", "a b", "class", ""])
def test_a_method_cannot_take_the_name_of_another_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, name, Toy)
    assert f"a method cannot be called {name!r}" in message()


# Refusals


def test_an_unknown_key_is_named_with_the_closest_and_the_file(tmp_path: Path) -> None:
    path = recipe(tmp_path, "schedule:\n  bacth: 4\n")
    with pytest.raises(ConfigError, match=r"(?s)unknown key 'schedule\.bacth'; did you mean 'batch'.*mine\.yaml"):
        make_config(load_recipe(path), where=path)
    assert "unknown key 'modle'; did you mean 'model'" in message(modle={})
    assert "unknown key 'data.1'" in message(data={1: 2})


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--schedule.bacth", "did you mean '--schedule.batch'"),
        ("--schedule.bacth=4", "unknown option --schedule.bacth; did you mean '--schedule.batch'"),
        ("--data", "unknown option --data"),
        ("--config", "unknown option --config"),
        ("--print_config", "unknown option --print_config"),
        ("--schedule.step", "did you mean '--schedule.steps'"),  # no abbreviations
        ("-s", "-s"),
        ("stray", "stray"),
    ],
)
def test_an_unknown_option_is_named_with_the_closest(word: str, says: str) -> None:
    assert says in message(word, "4")


WRONG = {
    "seed": ["x", "1.5", "-1", ""],
    "precision": ["fp16", "1"],
    "schedule.steps": ["abc", "1.5", "true", "[1]"],
    "optimizer.lr": ["fast", "[1]", ""],
    "data.scale": ["0.5", "[0.5]", "[0.5, 1, 2]", "[a, b]", "0.5 1", "[2, 0.5]"],
    "consistency.average": ["1", "maybe"],
    "evaluation.protocol": ["whole"],
    "model.level_widths": ["[1, 2]", "4"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_value_of_the_wrong_kind_is_named_with_its_key_and_what_it_takes(
    key: str, value: str, tmp_path: Path
) -> None:
    room, _, name = key.rpartition(".")
    text = f"{room}:\n  {name}: {value or repr('')}\n" if room else f"{name}: {value or repr('')}\n"
    path = recipe(tmp_path, text)
    for values, overrides, where in ((load_recipe(path), [], path), ({}, [f"--{key}={value}"], "command line")):
        with pytest.raises(ConfigError) as raised:
            make_config(values, overrides, where=path)
        shown = str(raised.value)
        assert key in shown
        assert "expected:" in shown
        assert "remedy:" in shown
        assert where in shown or "cannot be" not in shown
        assert "class '" not in shown  # Python's words for a type


def test_what_a_key_takes_is_said_in_words() -> None:
    assert "expected: auto or fp32 or bf16" in message("--precision", "x")
    assert "expected: a whole number or null" in message("--schedule.steps", "x")
    assert "expected: a list [a number, a number]" in message("--data.scale", "x")
    assert "expected: true or false" in message("--consistency.average", "x")
    assert "expected: original or sliding or null" in message("--evaluation.protocol", "x")


def test_a_value_of_the_wrong_kind_is_refused_where_the_recipe_is_python_too() -> None:
    assert "schedule.steps" in message(schedule={"steps": "abc"})
    assert "data.split" in message(data={"split": {"a": 1}})
    assert "data is not a mapping" in message(data=3)
    assert "data is not a mapping" in message(data=None)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, "nan", "-inf", "1e999", 10**400, True, [1]])
def test_a_rate_is_a_finite_number(number: Any) -> None:
    assert "optimizer.lr cannot be" in message(optimizer={"lr": number})
    assert "expected: a number" in message(f"--optimizer.lr={number}")


@pytest.mark.parametrize("number", [2.0, 2.5, True, 2**63, -(2**63) - 1, "9" * 5000, "1e3", "0x10", "1_"])
def test_a_whole_number_is_whole_and_fits(number: Any) -> None:
    assert "data.split_seed cannot be" in message(data={"split_seed": number})
    assert make_config({"data": {"split_seed": 2**63 - 1}}).data.split_seed == 2**63 - 1


@pytest.mark.parametrize("value", [92, 1.5, True, b"a", Path("a"), {"a"}, object()])
def test_text_is_never_made_of_anything_else(value: Any) -> None:
    assert "expected: text or null" in message(data={"split": value})
    assert "expected: a list [text, ...] or text" in message(data={"unlabeled": [value]})


def test_what_was_given_is_shown_and_cut_short() -> None:
    deep: list[Any] = []
    for _ in range(10**5):
        deep = [deep]
    for value in ("x" * 10**5, list(range(10**5)), deep, 10**5000):
        assert "seed cannot be" in message(seed=value)
        assert len(message(seed=value)) < 300
    assert len(message(**{"x" * 10**5: 1})) < 300
    assert len(message(f"--{'x' * 10**5}")) < 300


@pytest.mark.parametrize("empty", ["", "null", "~"])
def test_a_key_without_a_value_is_refused_unless_it_may_be_null(tmp_path: Path, empty: str) -> None:
    assert made(tmp_path, f"schedule:\n  steps: {empty}\n").schedule.steps is None
    with pytest.raises(ConfigError, match=r"(?s)schedule\.batch has no value.*a whole number.*leave the key out"):
        made(tmp_path, f"schedule:\n  batch: {empty}\n")


def test_a_range_is_checked_and_the_key_named() -> None:
    assert "hue" in message("--strong.hue", "3")
    assert "data.held_out" in message("--data.held_out", "2")
    assert "seed" in message("--seed", "-1")


@pytest.mark.parametrize(
    "text", ["- a", "", "a: b: c", "seed: 1\nseed: 2", "data: &x {crop: 14}\nmodel: *x", "x: !!python/name:os.system"]
)
def test_a_recipe_that_is_no_plain_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)YAML.*mine\.yaml.*remedy"):
        load_recipe(recipe(tmp_path, text))


def test_an_unknown_recipe_is_refused_with_the_closest_and_the_list(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)no recipe 'camvidd'; did you mean 'camvid'.*camvid-cpu.*semiseg recipes"
    ):
        load_recipe("camvidd")
    with pytest.raises(ConfigError, match="no recipe"):
        load_recipe(str(tmp_path))


def test_the_keys_that_a_resumed_run_may_change_exist() -> None:
    plain = to_dict(Config())
    for key in FREE_ON_RESUME:
        value: Any = plain
        for name in key.split("."):
            value = value[name]
