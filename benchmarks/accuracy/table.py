"""Tables of results: means, spreads, and differences seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

FEW = 3
"""With fewer seeds a table says that they are few."""
SECONDS = ("training_cpu", "training_wall", "all_cpu", "all_wall", "cpu_per_step", "wall_per_step")

Seeds = Mapping[int, Mapping[str, Any]]
"""The results of one variant by seed."""


def figures(result: Mapping[str, Any]) -> dict[str, float]:
    """Return what a result is judged by, in percent: the last and the best on val, the student, the test images."""
    judged = result["judged"]
    found = {"last": result["last"][judged], "best": result["best"][judged]}
    if judged != "student":
        found["student"] = result["last"]["student"]
    if result["test"]:
        found["test"] = result["test"]["score"]
    return {name: 100 * value for name, value in found.items()}


def summary(results: Sequence[Mapping[str, Any]], reference: str, clock: str) -> dict[str, Any]:
    """Return all figures by data set, budget (`steps`, `time`) and variant.

    Args:
        results: of finished runs.
        reference: the variant that others are compared with, at the same budget.
        clock: the variant whose time others get at equal time: it is of both budgets.
    """
    tables: dict[str, dict[str, dict[str, dict[int, Mapping[str, Any]]]]] = {}
    timed = {result["dataset"] for result in results if result["budget"] == "time"}
    for result in results:
        dataset, variant = result["dataset"], result["variant"]
        for budget in {result["budget"], *(["time"] if variant == clock and dataset in timed else [])}:
            rows = tables.setdefault(dataset, {}).setdefault(budget, {})
            rows.setdefault(variant, {})[result["seed"]] = result
    return {
        dataset: {
            budget: {
                name: _row(seeds, rows.get(reference, {}) if name != reference else {}) for name, seeds in rows.items()
            }
            for budget, rows in sorted(budgets.items())
        }
        for dataset, budgets in tables.items()
    }


def _row(seeds: Seeds, reference: Seeds) -> dict[str, Any]:
    some, found = list(seeds.values()), [figures(result) for result in seeds.values()]
    row: dict[str, Any] = {name: _spread([each[name] for each in found if name in each]) for name in found[0]}
    for name in ("last", "test"):
        row[f"{name}_difference"] = _difference(seeds, reference, name)
    return row | {
        "score": some[0]["score"],
        "seeds": sorted(seeds),
        "steps": some[0]["config"]["schedule"]["steps"],
        **{key: mean(result["seconds"][key] for result in some) for key in SECONDS},
        "classes": _classes(some),
        "trained_on": max((result["test"]["trained_on"] for result in some if result["test"]), default=0),
        "commits": sorted({result["commit"] for result in some}),
        "machines": sorted({f"{result['machine']['cpu']}, torch {result['machine']['torch']}" for result in some}),
        "dates": sorted({result["machine"]["date"] for result in some}),
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Return mean and standard deviation (of a sample; None for one value)."""
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None}


def _difference(ours: Seeds, theirs: Seeds, name: str) -> dict[str, Any] | None:
    """Return the difference of a figure over the seeds that both have; None if there is none."""
    pairs = {seed: (figures(ours[seed]), figures(theirs[seed])) for seed in sorted(ours.keys() & theirs.keys())}
    seeds = {seed: mine[name] - other[name] for seed, (mine, other) in pairs.items() if name in mine and name in other}
    return {**_spread(list(seeds.values())), "seeds": seeds} if seeds else None


def _classes(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the mean IoU of each class in percent, on val and on the test images, of the last model."""
    lists = {"val": [result["classes"][result["judged"]] for result in results]}
    lists["test"] = [result["test"]["classes"] for result in results if result["test"]]
    means = {}
    for where, found in lists.items():
        means[where] = {name: 100 * mean(each[name] for each in found) for name in (found[0] if found else ())}
    return means


def markdown(found: Mapping[str, Any], reference: str, *, classes: bool = False) -> str:
    """Write the tables, one for each data set and budget, perhaps each followed by one of the classes."""
    tables = []
    for dataset, budgets in found.items():
        for budget, rows in budgets.items():
            tables.append(
                f"**{dataset}, equal {budget}**\n\n{_table(rows, reference)}\n\n{_below(list(rows.values()))}"
            )
            if classes:
                tables += [_of_classes(rows, where) for where in ("val", "test") if _first(rows)["classes"][where]]
    return "\n\n".join(tables)


def _table(rows: Mapping[str, Any], reference: str) -> str:
    score = {"miou": "mIoU", "changed_iou": "changed IoU"}[_first(rows)["score"]]
    test = any("test" in row for row in rows.values())
    heads = ["variant", "steps", "CPU min", "seeds", f"{score}, last", "best", "student"]
    heads += [f"against {reference}", "by seed", *(["test", f"against {reference}", "by seed"] if test else [])]
    lines = []
    for name, row in rows.items():
        cells = [name, str(row["steps"]), f"{row['training_cpu'] / 60:.1f}", str(len(row["seeds"]))]
        cells += [_text(row["last"]), _text(row["best"]), _text(row.get("student"))]
        cells += _texts(row["last_difference"])
        cells += [_text(row.get("test")), *_texts(row["test_difference"])] if test else []
        lines.append(cells)
    return _lines(heads, lines)


def _of_classes(rows: Mapping[str, Any], where: str) -> str:
    lines = [
        [name, *(f"{row['classes'][where][name]:.1f}" for row in rows.values())]
        for name in _first(rows)["classes"][where]
    ]
    return _lines([f"IoU on {where}", *rows], lines)


def _lines(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = f"|---{'|--:' * (len(heads) - 1)}|"
    return "\n".join([f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(cells)} |" for cells in lines)])


def _below(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what a reader has to know of a table."""
    machines, dates, commits = (
        ", ".join(sorted({each for row in rows for each in row[key]})) for key in ("machines", "dates", "commits")
    )
    text = f"One core a run: {machines}; {dates}; commit {commits}."
    if trained_on := max(row["trained_on"] for row in rows):
        text += f" **{trained_on} of the test images were trained on.**"
    few = min(len(row["seeds"]) for row in rows)
    return text + (f" **Only {few} of {FEW} seeds: no claim can rest on this.**" if few < FEW else "")


def _first(rows: Mapping[str, Any]) -> Mapping[str, Any]:
    first: Mapping[str, Any] = next(iter(rows.values()))
    return first


def _text(value: Mapping[str, Any] | None, sign: str = "") -> str:
    if value is None:
        return ""
    return f"{value['mean']:{sign}.1f}" + (f" ± {value['std']:.1f}" if value["std"] is not None else "")


def _texts(difference: Mapping[str, Any] | None) -> tuple[str, str]:
    seeds = ", ".join(f"{each:+.1f}" for each in difference["seeds"].values()) if difference else ""
    return _text(difference, "+"), seeds
