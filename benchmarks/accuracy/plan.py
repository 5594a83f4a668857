"""What is to be trained: data sets, variants and seeds, from a YAML file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semiseg.api import recipe_config
from semiseg.config import Config, to_dict
from semiseg.data.scenes import write_scenes
from semiseg.data.yaml_file import read_yaml
from semiseg.engine.rundir import flatten
from semiseg.errors import ConfigError, closest

PLANS = Path(__file__).parent / "plans"
DATA = "DATA"
"""In the `root` of a data set: the folder given as `--data`."""
AT_TIME = "@time"
"""The end of a variant's name where it trains as long as the plan's clock does, not as many steps."""
EVALUATIONS = 10
"""The same number for all variants: the best of more evaluations is a higher one."""
_DRAWN = {"labeled": 8, "unlabeled": 192, "val": 64}
"""The scenes of the demo."""
_HERE = ("--data.workers", "0", "--device", "cpu")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set of a plan.

    Attributes:
        name: for tables and folders.
        recipe: what all variants begin with.
        root: its folder; of drawn scenes where they will be.
        words: overrides for all variants.
        test: a list of images that no training and no choice has seen; the last model is judged on them too.
        draw: settings of `write_scenes`, for scenes that are drawn.
    """

    name: str
    recipe: str
    root: Path
    words: Sequence[str] = ()
    test: Path | None = None
    draw: Mapping[str, Any] | None = None

    def prepare(self) -> None:
        """Draw the scenes, if they are drawn and not there yet."""
        if self.draw is not None:
            write_scenes(self.root, **{**_DRAWN, **self.draw})


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to train.

    Attributes:
        name: for tables and folders.
        words: overrides.
        times: factors of whole numbers, by key, after all overrides.
        cost: seconds of a step in those of the clock; None: measured where it is needed.
        at_time: whether it gets the time of the clock instead of its steps.
    """

    name: str
    words: Sequence[str] = ()
    times: Mapping[str, float] = field(default_factory=dict)
    cost: float | None = None
    at_time: bool = False

    def timed(self) -> Variant:
        """Return this variant as it trains at equal time."""
        return replace(self, name=self.name + AT_TIME, at_time=True)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be trained.

    Attributes:
        datasets: by name.
        variants: by name, each at its number of steps.
        reference: the variant that others are compared with, seed by seed.
        clock: the variant whose time others get at equal time.
        seeds: of the runs.
        evaluations: of each run.
    """

    datasets: Mapping[str, Dataset]
    variants: Mapping[str, Variant]
    reference: str
    clock: str
    seeds: Sequence[int]
    evaluations: int

    def config(self, dataset: Dataset, variant: Variant, seed: int = 0, steps: int | None = None) -> Config:
        """Return the configuration of one run, but for where it is written.

        Args:
            dataset: a data set of the plan.
            variant: a variant of it.
            seed: of the run.
            steps: its length; default: what recipe and overrides say.

        Raises:
            ConfigError: an unknown recipe or key, or no length in steps.
        """
        words = [*_HERE, "--data.root", str(dataset.root), "--seed", str(seed), *dataset.words, *variant.words]
        flat = flatten(to_dict(recipe_config(dataset.recipe, words)))
        for key, factor in variant.times.items():
            words += [f"--{key}", str(_times(key, flat.get(key), factor))]
        steps = steps or flat["schedule.steps"]
        if not steps:
            raise ConfigError("no number of steps", where=dataset.name, remedy="add `--schedule.steps N` to its `set`")
        every = str(-(-steps // self.evaluations))
        words += ["--schedule.steps", str(steps), "--evaluation.every", "null", "--evaluation.every_steps", every]
        return recipe_config(dataset.recipe, words)


def _times(key: str, value: Any, factor: float) -> int:
    if not isinstance(value, int) or value * factor != int(value * factor):
        raise ConfigError(f"{key} is {value}, times {factor}", expected="a whole number", remedy="correct the plan")
    return int(value * factor)


def load_plan(name: str, *, data: Path | None = None, drawn: Path, added: Sequence[str] = ()) -> Plan:
    """Read a plan.

    Args:
        name: of a plan in `plans/`, or the path of a YAML file.
        data: what stands for `DATA` in it.
        drawn: folder for drawn scenes.
        added: more variants, each as `NAME=--key value ...`; one of the same name is replaced.

    Raises:
        ConfigError: there is no such plan, or something in it is unknown or missing.
    """
    path = PLANS / f"{name}.yaml" if (PLANS / f"{name}.yaml").is_file() else Path(name)
    if not path.is_file():
        known = [plan.stem for plan in sorted(PLANS.glob("*.yaml"))]
        expected = f"one of {', '.join(known)}, or a YAML file"
        raise ConfigError(f"no plan {name!r}{closest(name, known)}", expected=expected, remedy="correct the name")
    content = read_yaml(path, ConfigError)
    _refuse_unknown(content, ("datasets", "variants", "reference", "clock", "seeds", "evaluations"), path)
    written = dict(content["variants"]) | dict(word.split("=", 1) for word in added)
    variants = {name: _variant(name, value) for name, value in written.items()}
    reference = content.get("reference") or next(iter(variants))
    plan = Plan(
        datasets={name: _dataset(name, value, data, drawn) for name, value in content["datasets"].items()},
        variants=variants,
        reference=reference,
        clock=content.get("clock") or reference,
        seeds=[int(seed) for seed in content.get("seeds") or (0, 1, 2)],
        evaluations=int(content.get("evaluations") or EVALUATIONS),
    )
    for chosen in (plan.reference, plan.clock):
        if chosen not in variants:
            raise ConfigError(
                f"no variant {chosen!r}{closest(chosen, variants)}", where=path, remedy="correct the plan"
            )
    return plan


def _dataset(name: str, value: Mapping[str, Any], data: Path | None, drawn: Path) -> Dataset:
    _refuse_unknown(value, ("recipe", "root", "set", "test", "draw"), name)
    root = Path(value["root"]) if "root" in value else drawn / name
    if root.parts[:1] == (DATA,):
        if data is None:
            raise ConfigError(f"the data set {name} is in {DATA}", remedy="say where that is with --data FOLDER")
        root = data.joinpath(*root.parts[1:])
    draw = {key: int(number) for key, number in value["draw"].items()} if "draw" in value else None
    words = tuple(shlex.split(value.get("set") or ""))
    test = root.absolute() / value["test"] if "test" in value else None
    return Dataset(name=name, recipe=value["recipe"], root=root.absolute(), words=words, test=test, draw=draw)


def _variant(name: str, value: str | Mapping[str, Any]) -> Variant:
    if isinstance(value, str):
        return Variant(name=name, words=tuple(shlex.split(value)))
    _refuse_unknown(value, ("set", "times", "cost"), name)
    times = {key: float(factor) for key, factor in value.get("times", {}).items()}
    cost = float(value["cost"]) if "cost" in value else None
    return Variant(name=name, words=tuple(shlex.split(value.get("set") or "")), times=times, cost=cost)


def _refuse_unknown(found: Mapping[str, Any], known: Sequence[str], where: object) -> None:
    for key in found:
        if key not in known:
            raise ConfigError(
                f"unknown key {key!r}{closest(key, known)}", where=where, expected=", ".join(known), remedy="correct it"
            )
