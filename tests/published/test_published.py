from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from semiseg.errors import ConfigError
from semiseg.published import PublishedCurve, headlines, published_curve, published_runs

CURVE = PublishedCurve(run="x", values={"teacher": (0.5, 0.7, 0.6), "student": (0.4, 0.6, 0.6)})


def test_a_curve_is_read_at_epochs_and_between_them() -> None:
    assert CURVE.at("teacher", 1) == 0.5
    assert CURVE.at("teacher", 3) == 0.6
    assert CURVE.at("student", 1.5) == pytest.approx(0.5)
    assert CURVE.points("teacher") == [(1.0, 0.5), (2.0, 0.7), (3.0, 0.6)]


@pytest.mark.parametrize("epoch", [0.0, 0.99, 3.01, 60.0])
def test_a_curve_says_nothing_outside_its_epochs(epoch: float) -> None:
    assert CURVE.at("teacher", epoch) is None


def test_the_model_that_was_reported_is_the_teacher_where_there_was_one() -> None:
    assert CURVE.judged == "teacher"
    alone = PublishedCurve(run="x", values={"student": (0.4,)})
    assert alone.judged == "student"
    assert alone.at("teacher", 1) is None
    assert alone.points("teacher") == []


def test_an_unknown_run_is_refused_with_the_closest() -> None:
    name = "table01-pascal_unimatch_v2_92labels_dinov2_base"
    assert published_curve(name).run == name
    with pytest.raises(ConfigError, match=f"(?s)no published run.*did you mean '{name}'.*semiseg recipes"):
        published_curve(name.replace("pascal", "pascla"))


def test_the_best_figure_of_a_run_is_the_highest_of_its_curve() -> None:
    for run in list(published_runs().values())[::40]:
        curve = published_curve(run.name)
        assert max(curve.values[curve.judged]) == pytest.approx(run.best)


def test_the_shipped_figures_are_the_published_ones(published_reference: Path) -> None:
    with (published_reference / "published_runs.csv").open(newline="") as file:
        reference = {row["run"]: row for row in csv.DictReader(file)}
    runs = published_runs()
    assert list(runs) == list(reference)
    for name, row in reference.items():
        assert runs[name].best == pytest.approx(float(row["best_ema"] or row["best"]) / 100)
        assert (runs[name].gpus, runs[name].metric) == (int(row["gpus"]), row["metric"])


def test_the_shipped_curves_are_the_published_ones(published_reference: Path) -> None:
    expected: dict[str, list[tuple[float, str]]] = {}
    with (published_reference / "published_curves.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            expected.setdefault(row["run"], []).append((float(row["metric"]), row["metric_ema"]))
    for name in list(expected)[::12]:
        curve = published_curve(name)
        assert [round(100 * value, 2) for value in curve.values["student"]] == [
            student for student, _ in expected[name]
        ]
        teacher = [float(value) for _, value in expected[name] if value]
        assert [round(100 * value, 2) for value in curve.values.get("teacher", ())] == teacher


SYSTEMS = {"UniMatch V1": "unimatch_v1", "AllSpark": "allspark", "SemiVL": "semivl"}


def test_the_headlines_are_those_of_the_papers(published_reference: Path) -> None:
    """The facts are two tables with a row for each system; ResNet-50 of UniMatch V1 stands in its own paper alone."""
    expected: dict[str, list[str]] = {system: [] for system in SYSTEMS.values()}
    for line in (published_reference / "SYSTEMS.md").read_text().splitlines():
        for name, system in SYSTEMS.items():
            if line.startswith(f"| {name} "):
                expected[system] += re.findall(r"\d+\.\d+", line)
    for system, figures in expected.items():
        found = [row.figure for row in headlines() if row.system == system and row.encoder != "resnet50"]
        assert [f"{100 * figure:.1f}" for figure in found] == figures
    keys = {(row.system, row.dataset, row.split, row.encoder) for row in headlines()}
    assert len(keys) == len(headlines()) == 61
    assert {row.dataset for row in headlines() if row.metric == "changed_iou"} == {"levir", "whu"}
