"""The whole configuration of a run, and how a recipe's settings and overrides become one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, make_dataclass
from functools import cache
from keyword import iskeyword
from typing import Any, get_type_hints

from semiseg.augment import StrongViewConfig
from semiseg.config.values import checked, described, of_word, shortened, shown
from semiseg.data import DataConfig
from semiseg.engine.config import EvaluationConfig, OptimizerConfig, Precision, ScheduleConfig
from semiseg.engine.services import LoggingConfig
from semiseg.errors import ConfigError, closest
from semiseg.methods.registry import METHODS
from semiseg.methods.settings import ConsistencyConfig, LossConfig
from semiseg.models import ModelConfig

FREE_ON_RESUME = {
    *("data.workers", "data.root", "data.splits", "data.manifest", "data.index", "device", "published", "run.folder"),
    *("evaluation.batch", "evaluation.tile", "logging.wandb", "logging.mlflow"),
    *("schedule.activation_checkpointing", "schedule.compile"),
    # What changes the result: the remedies of losses that are not finite, of a batch that does not fit, and of files
    # that are damaged.
    *("data.quarantine", "optimizer.lr", "optimizer.decoder_multiplier", "precision", "schedule.per_device"),
}
"""Keys that a resumed run may change; it says which it did."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where the results go."""

    name: str | None = None
    """Directory of the run below `folder`. Default: recipe, data set, method, split and seed."""
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
    """How to learn."""
    seed: int = 0
    """Seed of everything random, >= 0."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; with torchrun each process takes its own GPU."""
    precision: Precision = "auto"
    """Matmuls and convolutions in bf16 where the device is fast at it (auto), always (bf16) or never (fp32).
    What is fp32 is so in full: a GPU does not round it to TF32."""
    deterministic: bool = False
    """Let a GPU add up in one order, where torch can, so that a run repeats and resumes bit by bit; slower. On a CPU it
    does anyway."""
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
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    """Services that are sent the numbers of the run."""

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
    return _composed(tuple((name, kind) for name, kind in METHODS.settings().items() if fields(kind)))


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


def make_config(settings: Mapping[str, Any], overrides: Sequence[str] = (), *, where: object = "recipe") -> Config:
    """Build a configuration from a recipe's settings and command-line overrides.

    Args:
        settings: nested mapping, as in a recipe; numbers and truths may be text.
        overrides: `--a.b value` or `--a.b=value`.
        where: what the settings came from, for messages.

    Raises:
        ConfigError: an unknown key (the message names the closest), or a value of the wrong kind.
    """
    kind = config_class()
    config: Config = _built(kind, settings, overridden(overrides), where)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as plain nested values for YAML; `make_config` undoes it."""
    plain: dict[str, Any] = _without_tuples(asdict(config))
    return plain


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tuples(item) for key, item in value.items()}
    return [_without_tuples(item) for item in value] if isinstance(value, list | tuple) else value


def keys_of(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of a config dataclass and the type of each."""
    for name, type_ in _kinds(kind).items():
        if is_dataclass(type_):
            yield from keys_of(type_, f"{prefix}{name}.")
        else:
            yield prefix + name, type_


@cache
def _kinds(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def overridden(words: Sequence[str]) -> dict[str, Any]:
    """Return the value of each key that the words `--a.b value` and `--a.b=value` give; of two for one key the last.

    Raises:
        ConfigError: an unknown key, or one without a value.
    """
    given, rest, kinds = dict[str, Any](), list(words), dict(keys_of(config_class()))
    while rest:
        name, equals, text = rest.pop(0).partition("=")
        key = name.removeprefix("--")
        if name == key or key not in kinds:
            near = closest(name, [f"--{known}" for known in kinds])
            what = f"unknown option {shortened(name)}{near}"
            raise ConfigError(what, where="command line", remedy="see `semiseg train -h`")
        if not equals:
            # As with any option: what begins with a dash is no value, unless it is a number.
            if not rest or re.match(r"-(?!\.?\d)", rest[0]):
                remedy = f"write {name}=VALUE"
                raise ConfigError(
                    f"{name} has no value", where="command line", expected=described(kinds[key]), remedy=remedy
                )
            text = rest.pop(0)
        given[key] = of_word(text, kinds[key])
    return given


def _built(kind: Any, settings: Any, overrides: Mapping[str, Any], where: object, prefix: str = "") -> Any:
    """Build a config dataclass from settings and overrides, its parts first."""
    if not isinstance(settings, Mapping):
        what = f"{prefix[:-1] or 'the configuration'} is not a mapping"
        raise ConfigError(what, where=where, remedy="indent its keys below it")
    kinds = _kinds(kind)
    for name in settings:
        if name not in kinds:
            word = name if isinstance(name, str) else shown(name)
            what = f"unknown key {shown(prefix + word)}{closest(word, kinds)}"
            raise ConfigError(what, where=where, remedy="correct the key")
    values = {}
    for name, type_ in kinds.items():
        key = prefix + name
        if is_dataclass(type_):
            values[name] = _built(type_, settings.get(name, {}), overrides, where, f"{key}.")
        elif key in overrides:
            values[name] = checked(key, overrides[key], type_, "command line")
        elif name in settings:
            values[name] = checked(key, settings[name], type_, where)
    return kind(**values)
