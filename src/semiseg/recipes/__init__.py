"""Recipes: YAML files that name everything of a run, and the published ones, composed of four parts.

The name of a published recipe says its parts: `DATASET/SPLIT-METHOD-ENCODER`, then perhaps `-VARIANT`, for example
`pascal/92-unimatch_v2-dinov2_base-frozen`. Any combination of the parts in `parts/` is a recipe, published or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from semiseg.data.yaml_file import read_yaml
from semiseg.errors import ConfigError, closest
from semiseg.published import Headline, headlines, published_runs

_FORM = "DATASET/SPLIT-METHOD-ENCODER, perhaps with -VARIANT"


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that ship as one file, by name."""
    return {path.stem: path for path in sorted(_folder().glob("*.yaml"))}


def published_recipes() -> dict[str, str]:
    """Return the recipes that repeat a published run, and the name of that run."""
    return {run.recipe: run.name for run in published_runs().values() if run.recipe}


def headline_recipes() -> dict[str, Headline]:
    """Return the recipes that repeat a figure of a main table of another system, and that figure."""
    return {headline.recipe: headline for headline in headlines() if headline.recipe}


def is_recipe(name: str) -> bool:
    """Whether a name is that of a recipe: a file that ships, or parts that can be composed."""
    try:
        return name in shipped_recipes() or _composed(name) is not None
    except ConfigError:
        return False


def load_recipe(name: str) -> dict[str, Any]:
    """Return the settings of a recipe as nested text; `make_config` reads them.

    Args:
        name: a recipe that ships, the parts of a published one (`pascal/92-unimatch_v2-dinov2_base`), or the path of a
            YAML file.

    Raises:
        ConfigError: there is none of that name, or the file is not a YAML mapping.
    """
    recipes = shipped_recipes()
    path = recipes.get(name, Path(name))
    if path.is_file():
        return {"recipe": path.stem, **read_yaml(path, ConfigError)}
    composed = _composed(name)
    if composed is not None:
        return composed
    raise ConfigError(
        f"no recipe {name!r}{closest(name, [*recipes, *published_recipes(), *headline_recipes()])}",
        expected=f"one of {', '.join(recipes)}, {_FORM}, or a YAML file",
        remedy="see `semiseg recipes`",
    )


def _composed(name: str) -> dict[str, Any] | None:
    """Merge the parts that a name is made of; None if it does not have the form of one.

    Raises:
        ConfigError: it has, but one of the parts is unknown.
    """
    dataset, _, rest = name.partition("/")
    split, *words = rest.split("-")
    datasets = _parts("datasets")
    if dataset not in datasets or not split or len(words) < 2:
        return None
    method, encoder, *variants = words
    settings: dict[str, Any] = {"recipe": name, "published": published_recipes().get(name)}
    chosen = [
        datasets[dataset]["settings"],
        {"data": {"split": split}},
        _part("methods", method, name),
        _part("encoders", encoder, name),
    ]
    changes = _changes(datasets[dataset])
    chosen += [changes[word] for word in (split, method, encoder) if word in changes]
    for variant in variants:
        chosen += [_part("variants", variant, name), changes.get(variant, {})]
    for part in chosen:
        settings = _merged(settings, part)
    return settings


def _changes(dataset: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what a data set changes for each part that its keys name; a key may name several."""
    return {word: change for words, change in dataset.get("with", {}).items() for word in words.split()}


def _part(kind: str, word: str, name: str) -> Mapping[str, Any]:
    known = _parts(kind)
    if word not in known:
        raise ConfigError(
            f"no {kind.removesuffix('s')} {word!r} for a recipe{closest(word, known)}",
            where=name,
            expected=f"{_FORM}; {kind}: {', '.join(known)}",
            remedy="correct the recipe's name, or see `semiseg recipes`",
        )
    part: Mapping[str, Any] = known[word]
    return part


@cache
def _parts(kind: str) -> Mapping[str, Any]:
    return read_yaml(_folder() / "parts" / f"{kind}.yaml", ConfigError)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings in which those above replace those below."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _folder() -> Path:
    return Path(str(resources.files("semiseg.recipes")))


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a pattern with `*` and `?` fits; without these, those that begin with it."""
    whole = pattern if set(pattern) & set("*?[") else f"{pattern}*"
    return [name for name in names if fnmatchcase(name, whole)]
