"""The verb recipes: list them with what the published runs reached, or print one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from semiseg.cli.options import Parser, write_json
from semiseg.errors import ConfigError, closest


def recipes_verb(words: list[str]) -> None:
    """List the recipes, or print one."""
    import yaml

    from semiseg.config import make_config, to_dict
    from semiseg.recipes import (
        headline_recipes,
        is_recipe,
        load_recipe,
        matching,
        published_recipes,
        shipped_recipes,
    )

    parser = Parser("recipes", "List the recipes, or print one.")
    parser.add_argument(
        "name", nargs="?", help="a recipe to print, or the beginning of names, or a pattern: 'coco/*large'"
    )
    options = parser.parse_args(words)
    shipped, published = shipped_recipes(), published_recipes()
    if options.name is not None and (is_recipe(options.name) or Path(options.name).is_file()):
        settings = load_recipe(options.name)
        path = shipped.get(options.name, Path(options.name))
        print(path.read_text(encoding="utf-8") if path.is_file() else yaml.safe_dump(settings, sort_keys=False), end="")
        write_json(options.json, {"recipes": {options.name: to_dict(make_config(settings, where=options.name))}})
        return
    names = [*shipped, *published, *headline_recipes()]
    found = matching(options.name or "", names)
    if not found:
        near = closest(options.name, names)
        raise ConfigError(f"no recipe begins with {options.name!r}{near}", remedy="see `semiseg recipes`")
    for line in _listing(found):
        print(line)
    configs = {name: to_dict(make_config(load_recipe(name), where=name)) for name in found if name in shipped}
    runs = [_facts(name) for name in found if name in published]
    figures = [asdict(figure) for name, figure in headline_recipes().items() if name in found]
    write_json(
        options.json,
        {"recipes": configs, "published": runs, "published_count": len(runs), "headlines": figures},
    )


def _listing(names: list[str]) -> list[str]:
    """Return a line for each recipe: what it is for, or what its published run reached."""
    from semiseg.data.spec import SCORE_NAMES
    from semiseg.recipes import headline_recipes, published_recipes, shipped_recipes

    shipped, width = shipped_recipes(), max(len(name) for name in names)
    lines = [
        f"{name:{width}}  {shipped[name].read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}"
        for name in names
        if name in shipped
    ]
    runs = [_facts(name) for name in names if name in published_recipes()]
    if runs:
        lines.append(f"{len(runs)} recipes that repeat a published run (any combination of their parts is a recipe):")
    lines += [
        f"{run['recipe']:{width}}  {run['best']:7.2%} {SCORE_NAMES[run['metric']]}  "
        f"{run['hours']:5.1f} h on {run['gpus']} GPU{'s' * (run['gpus'] > 1)}  "
        f"{run['table']}"
        for run in runs
    ]
    figures = [figure for name, figure in headline_recipes().items() if name in names]
    if figures:
        lines.append(f"{len(figures)} recipes that repeat a figure of the main tables of other systems:")
    lines += [
        f"{row.recipe:{width}}  {row.figure:7.2%} {SCORE_NAMES[row.metric]}  arXiv {row.source}" for row in figures
    ]
    return lines


def _facts(recipe: str) -> dict[str, Any]:
    """Return what is known of the published run that a recipe repeats."""
    from semiseg.published import published_runs
    from semiseg.recipes import published_recipes

    run = published_runs()[published_recipes()[recipe]]
    return {
        "run": run.name,
        "recipe": recipe,
        "metric": run.metric,
        "best": run.best,
        "gpus": run.gpus,
        "hours": run.hours,
        "table": run.table,
    }
