"""The whole configuration of a run, and how a recipe's settings and overrides become one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from keyword import iskeyword
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import jsonargparse

from semiseg.augment import StrongViewConfig
from semiseg.data import DataConfig
from semiseg.engine.evaluation import EvaluationConfig
from semiseg.engine.precision import Precision
from semiseg.engine.schedule import OptimizerConfig, ScheduleConfig
from semiseg.errors import ConfigError, closest
from semiseg.methods import METHODS, ConsistencyConfig, LossConfig
from semiseg.models import ModelConfig

# Field docstrings are the help of the command line.
jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)

FREE_ON_RESUME = {"data.workers", "device", "run.folder", "evaluation.batch", "data.splits", "published"}
"""Keys that a resumed run may change, as they do not change its result."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where the results go."""

    name: str | None = None
    """Directory of the run below `folder`. Default: recipe, method, split and seed."""
    folder: str = "runs"
    """Where run directories are made."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a training run is made of.

    Each registered method that has settings adds a section under its own name: `Config(...)` makes a `config_class()`.
    """

    recipe: str = "default"
    """Name of the recipe that this configuration began as; it has no other effect."""
    published: str | None = None
    """Name of a published run of UniMatch V2 whose figures are shown beside ours; recipes of published runs set it."""
    method: str = "unimatch_v2"
    """How to learn: supervised, fixmatch, unimatch_v2."""
    seed: int = 0
    """Seed of everything random, >= 0."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; with torchrun each process takes its own GPU."""
    precision: Precision = "auto"
    """Matmuls and convolutions in bf16 where the device is fast at it (auto), always (bf16) or never (fp32)."""
    run: RunConfig = field(default_factory=RunConfig)
    """Where the results go."""
    data: DataConfig = field(default_factory=DataConfig)
    """Images and masks."""
    strong: StrongViewConfig = field(default_factory=StrongViewConfig)
    """Strong views of unlabeled images."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Encoder and decoder."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The loss of labeled images."""
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    """Learning from pseudo-labels."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """AdamW and its rates."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Length of the run and size of its steps."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How student and teacher are evaluated."""

    def __new__(cls, **settings: Any) -> Config:
        """Make the class that has the methods' sections too."""
        return super().__new__(config_class() if cls is Config else cls)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}", where="seed", expected="a number >= 0", remedy="correct --seed")


def config_class() -> type[Config]:
    """Return the whole configuration's class: `Config` and a section for each registered method that has settings.

    Raises:
        ConfigError: a method has the name of another key, or one that cannot be a key.
    """
    kinds = ((name, method.config_class) for name, method in METHODS.items())
    return _composed(tuple((name, kind) for name, kind in kinds if fields(kind)))


@cache
def _composed(sections: tuple[tuple[str, type], ...]) -> type[Config]:
    taken = {entry.name for entry in fields(Config)}
    for name, _ in sections:
        if name in taken or not name.isidentifier() or iskeyword(name):
            raise ConfigError(
                f"a method cannot be called {name!r}",
                where="the registry of methods",
                expected=f"a word of letters, digits and _, and none of {', '.join(sorted(taken))}",
                remedy="register it under another name",
            )
    added = [(name, kind, field(default_factory=kind)) for name, kind in sections]
    facts = {"__doc__": Config.__doc__, "__module__": Config.__module__}
    return make_dataclass("Config", added, bases=(Config,), namespace=facts, frozen=True, kw_only=True)


class _Parser(jsonargparse.ArgumentParser):
    """A parser whose errors are ours."""

    where: object = "command line"

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of exiting; of a wrong value, say what its key wants."""
        message = " ".join(message.split())
        wrong = re.match(r'Parser key "([\w.]+)":.*(?:Got|Given) value: ?(.*)', message)
        kinds = dict(_kinds(config_class()))
        if wrong is None or wrong[1] not in kinds:
            raise ConfigError(message, where=self.where, remedy="correct the option, or see `semiseg train -h`")
        key, value = wrong.groups()
        raise ConfigError(
            f"{key} cannot be {value!r}",
            where=self.where,
            expected=_described(kinds[key]),
            remedy=f"correct {key}, or see `semiseg train -h`",
        )


def _described(kind: Any) -> str:
    """Say in words what a key of this type takes."""
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    parts = [_described(part) for part in get_args(kind)]
    if get_origin(kind) is tuple:
        return f"a list [{', '.join(parts)}]"
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null", ...: "..."}
    return " or ".join(parts) or words[kind]


def config_parser() -> _Parser:
    """Return the parser of all keys of `Config`, as dotted options."""
    parser = _Parser(exit_on_error=False, default_env=False, add_help=False, usage=None)
    parser.add_class_arguments(config_class(), sub_configs=False)
    return parser


def make_config(settings: Mapping[str, Any], overrides: Sequence[str] = (), *, where: object = "recipe") -> Config:
    """Build a configuration from a recipe's settings and command-line overrides.

    Args:
        settings: nested mapping, as in a recipe.
        overrides: `--a.b value` or `--a.b=value`.
        where: what the settings came from, for messages.

    Raises:
        ConfigError: an unknown key (the message names the closest), or a value of the wrong kind.
    """
    refuse_unknown(settings, config_class(), where)
    known = [f"--{key}" for key, _ in _kinds(config_class())]
    for word in overrides:
        name = word.split("=", 1)[0]
        if name.startswith("--") and name not in known:
            raise ConfigError(f"unknown option {name}{closest(name, known)}", remedy="see `semiseg train -h`")
    parser = config_parser()
    parser.where = where
    parser.set_defaults(vars(parser.parse_object(settings).as_flat()))
    parser.where = "command line"
    parsed = parser.parse_args(list(overrides))
    _refuse_null(vars(parsed.as_flat()), where)
    config: Config = _built(config_class(), parsed.as_dict())
    return config


def _refuse_null(values: Mapping[str, Any], where: object) -> None:
    """Refuse what the parser lets pass: null, or nothing at all after `key:`, where a key needs a value."""
    for key, kind in _kinds(config_class()):
        if values[key] is None and NoneType not in get_args(kind):
            remedy = f"give {key} a value, or leave the key out"
            raise ConfigError(f"{key} has no value", where=where, expected=_described(kind), remedy=remedy)


def _built(kind: Any, values: Mapping[str, Any]) -> Any:
    """Build a config dataclass from parsed values, its parts first."""
    parts = {
        name: _built(type_, values[name]) if dataclasses.is_dataclass(type_) else values[name]
        for name, type_ in get_type_hints(kind).items()
    }
    return kind(**parts)


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as plain nested values for YAML; `make_config` undoes it."""
    plain: dict[str, Any] = _without_tuples(dataclasses.asdict(config))
    return plain


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tuples(item) for key, item in value.items()}
    return [_without_tuples(item) for item in value] if isinstance(value, list | tuple) else value


def _kinds(kind: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the dotted keys of a config dataclass and the type of each."""
    for name, type_ in get_type_hints(kind).items():
        if dataclasses.is_dataclass(type_):
            yield from _kinds(type_, f"{prefix}{name}.")
        else:
            yield prefix + name, type_


def refuse_unknown(settings: Mapping[str, Any], kind: Any, where: object, prefix: str = "") -> None:
    """Check that every key of nested settings exists.

    Raises:
        ConfigError: one does not; the message names the closest key.
    """
    hints = get_type_hints(kind)
    for key, value in settings.items():
        if key not in hints:
            raise ConfigError(
                f"unknown key {prefix + str(key)!r}{closest(str(key), hints)}", where=where, remedy="correct the key"
            )
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{key} is not a mapping", where=where, remedy="indent its keys below it")
            refuse_unknown(value, hints[key], where, f"{prefix}{key}.")
