"""Tables of results: means, spreads, and differences seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

FEW = 3
"""With fewer seeds a table says that they are few."""

Results = Mapping[str, Mapping[str, Mapping[int, Mapping[str, Any]]]]
"""By data set, variant and seed."""


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation (of a sample; None for one value) and number of values."""
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None, "n": len(values)}


def figures(result: Mapping[str, Any]) -> dict[str, float]:
    """Return what a result is judged by, in percent: the last and the best on val, the student, the test images."""
    judged = result["judged"]
    found = {"last": result["last"][judged], "best": result["best"][judged]}
    if judged != "student":
        found["student"] = result["last"]["student"]
    if result["test"]:
        found["test"] = result["test"]["score"]
    return {name: 100 * value for name, value in found.items()}


def differences(ours: Mapping[int, Any], theirs: Mapping[int, Any], name: str) -> dict[str, Any] | None:
    """Return the difference of a figure, over the seeds that both have; None if there is none."""
    pairs = {seed: (figures(ours[seed]), figures(theirs[seed])) for seed in sorted(ours.keys() & theirs.keys())}
    seeds = {seed: mine[name] - other[name] for seed, (mine, other) in pairs.items() if name in mine and name in other}
    return {**spread(list(seeds.values())), "seeds": seeds} if seeds else None


def summary(results: Results, reference: str) -> dict[str, Any]:
    """Return all figures by data set and variant.

    Args:
        results: by data set, variant and seed; variants in the order of the table.
        reference: the variant that others are compared with.
    """
    return {
        dataset: {
            name: _row(seeds, variants.get(reference, {}) if name != reference else {})
            for name, seeds in variants.items()
            if seeds
        }
        for dataset, variants in results.items()
    }


def _row(seeds: Mapping[int, Mapping[str, Any]], reference: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    found, some = [figures(result) for result in seeds.values()], list(seeds.values())
    row: dict[str, Any] = {name: spread([each[name] for each in found if name in each]) for name in found[0]}
    for name in ("last", "test"):
        row[f"{name}_difference"] = differences(seeds, reference, name)
    return row | {
        "score": some[0]["score"],
        "seeds": sorted(seeds),
        "steps": some[0]["config"]["schedule"]["steps"],
        **{
            key: mean(result["seconds"][key] for result in some) for key in ("training_cpu", "all_wall", "cpu_per_step")
        },
        "classes": _classes(some),
        "commits": sorted({result["commit"] for result in some}),
        "machines": sorted({f"{result['machine']['cpu']}, torch {result['machine']['torch']}" for result in some}),
        "dates": sorted({result["machine"]["started"][:10] for result in some}),
    }


def _classes(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the mean IoU of each class in percent, on val and on the test images."""
    val = [result["classes"][result["judged"]] for result in results]
    test = [result["test"]["classes"] for result in results if result["test"]]
    lists = {"val": val} | ({"test": test} if test else {})
    return {
        where: {name: 100 * mean(each[name] for each in found) for name in found[0]} for where, found in lists.items()
    }


def markdown(found: Mapping[str, Any], reference: str) -> str:
    """Write the tables, one a data set."""
    return "\n\n".join(_table(name, rows, reference) for name, rows in found.items() if rows)


def _table(dataset: str, rows: Mapping[str, Any], reference: str) -> str:
    some = list(rows.values())
    score = {"miou": "mIoU", "changed_iou": "changed IoU"}[some[0]["score"]]
    test = any("test" in row for row in some)
    heads = ["variant", "steps", "CPU min", "wall min", "seeds", f"{score}, last", "best", "student"]
    heads += [f"against {reference}", "by seed"] + (["test", f"against {reference}", "by seed"] if test else [])
    lines = [f"**{dataset}**", "", f"| {' | '.join(heads)} |", f"|---{'|--:' * (len(heads) - 1)}|"]
    for name, row in rows.items():
        cells = [name, row["steps"], f"{row['training_cpu'] / 60:.1f}", f"{row['all_wall'] / 60:.1f}"]
        cells += [len(row["seeds"]), _of(row["last"]), _mean(row["best"]), _mean(row.get("student"))]
        cells += _difference(row["last_difference"])
        cells += [_of(row.get("test")), *_difference(row["test_difference"])] if test else []
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", _below(some)])


def _below(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what a reader has to know of a table."""
    parts = {key: sorted({each for row in rows for each in row[key]}) for key in ("machines", "dates", "commits")}
    text = "; ".join(", ".join(values) for values in (parts["machines"], parts["dates"]))
    text = f"One core a run: {text}; commit {', '.join(parts['commits'])}."
    few = min(len(row["seeds"]) for row in rows)
    return text + (f" **Only {few} of {FEW} seeds: no claim can rest on this.**" if few < FEW else "")


def _of(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return ""
    return f"{value['mean']:.1f}" + (f" ± {value['std']:.1f}" if value["std"] is not None else "")


def _mean(value: Mapping[str, Any] | None) -> str:
    return f"{value['mean']:.1f}" if value else ""


def _difference(value: Mapping[str, Any] | None) -> tuple[str, str]:
    if value is None:
        return "", ""
    std = f" ± {value['std']:.1f}" if value["std"] is not None else ""
    return f"{value['mean']:+.1f}{std}", ", ".join(f"{each:+.1f}" for each in value["seeds"].values())
