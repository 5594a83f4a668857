"""What is to be trained: data sets, variants and seeds, from a YAML file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
"""Begins the `root` of a data set in the folder given as `--data`."""
EVALUATIONS = 5
"""Of a run. The same number for all variants, as the best of more evaluations is a higher one."""
_DRAWN = {"labeled": 8, "unlabeled": 192, "val": 64}
"""The scenes of the demo."""
_PLACE = {"recipe", "published", "data.root", "data.workers", "data.teacher", "run.folder", "run.name"}
"""Keys without effect on a result, or that say where the same things are."""


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
        teachers: variants whose trained runs label the unlabeled images first, as `semiseg distill` does: that of the
            same seed, or with `all_seeds` those of all seeds.
        all_seeds: see there.
        labels: how they look at the images, options of `write_labels`.
    """

    name: str
    words: Sequence[str] = ()
    times: Mapping[str, float] = field(default_factory=dict)
    cost: float | None = None
    teachers: Sequence[str] = ()
    all_seeds: bool = False
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be trained.

    Attributes:
        datasets: by name.
        variants: by name.
        reference: the variant that others are compared with, seed by seed.
        clock: the variant whose seconds the others get, where time is equal.
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
        words = ["--data.workers", "0", "--device", "cpu", "--data.root", str(dataset.root), "--seed", str(seed)]
        words += [*dataset.words, *variant.words]
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


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations train the same. A key that one does not know yet has its default there."""
    a, b, defaults = flatten(dict(one)), flatten(dict(other)), flatten(to_dict(Config()))
    return all(a.get(key, defaults.get(key)) == b.get(key, defaults.get(key)) for key in (a.keys() | b.keys()) - _PLACE)


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
    _require_known(content, ("datasets", "variants", "reference", "clock", "seeds", "evaluations"), path)
    written = content["variants"] | dict(word.split("=", 1) for word in added)
    reference = content.get("reference", next(iter(written)))
    clock = content.get("clock", reference)
    _require_known({reference: "", clock: ""}, [*written], path)
    variants = {name: _variant(name, value) for name, value in written.items()}
    for variant in variants.values():
        _require_known(dict.fromkeys(variant.teachers), [*written], f"teachers of {variant.name}")
    return Plan(
        datasets={name: _dataset(name, value, data, drawn) for name, value in content["datasets"].items()},
        variants=variants,
        reference=reference,
        clock=clock,
        seeds=[int(seed) for seed in content.get("seeds", (0, 1, 2))],
        evaluations=int(content.get("evaluations", EVALUATIONS)),
    )


def _dataset(name: str, value: Mapping[str, Any], data: Path | None, drawn: Path) -> Dataset:
    _require_known(value, ("recipe", "root", "set", "test", "draw"), name)
    root = Path(value.get("root", drawn / name))
    if root.parts[0] == DATA:
        if data is None:
            raise ConfigError(f"the data set {name} is in {DATA}", remedy="say where that is with --data FOLDER")
        root = data.joinpath(*root.parts[1:])
    draw = {key: int(number) for key, number in value["draw"].items()} if "draw" in value else None
    words = shlex.split(value.get("set", ""))
    test = root.absolute() / value["test"] if "test" in value else None
    return Dataset(
        name=name, recipe=value.get("recipe", "default"), root=root.absolute(), words=words, test=test, draw=draw
    )


def _variant(name: str, value: str | Mapping[str, Any]) -> Variant:
    parts = {"set": value} if isinstance(value, str) else value
    _require_known(parts, ("set", "times", "cost", "teachers", "all_seeds", "labels"), name)
    times = {key: float(factor) for key, factor in parts.get("times", {}).items()}
    cost = float(parts["cost"]) if "cost" in parts else None
    return Variant(
        name=name,
        words=shlex.split(parts.get("set", "")),
        times=times,
        cost=cost,
        teachers=parts.get("teachers", "").split(),
        all_seeds=_truth(parts.get("all_seeds", False)),
        labels=_look(parts.get("labels", {}), name),
    )


def _look(labels: Mapping[str, Any], variant: str) -> dict[str, Any]:
    _require_known(labels, ("scales", "flip"), f"labels of {variant}")
    read = {"scales": lambda scales: [float(scale) for scale in scales], "flip": _truth}
    return {key: read[key](value) for key, value in labels.items()}


def _truth(value: object) -> bool:
    """Read what YAML may have left as text."""
    return str(value).lower() == "true"


def _require_known(found: Mapping[str, Any], known: Sequence[str], where: object) -> None:
    for key in found.keys() - {*known}:
        unknown = f"unknown key {key!r}{closest(key, known)}"
        raise ConfigError(unknown, where=where, expected=", ".join(known), remedy="correct the plan")
