from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg.reporting.record import read_run
from semiseg.reporting.settings import Setting, group
from semiseg.reporting.tables import classes, facts, summary


def settings(*runs: Path) -> list[Setting]:
    return group([read_run(run) for run in runs])


def table(*runs: Path) -> dict[str, tuple[str, ...]]:
    found = settings(*runs)
    parts = facts(found, "mIoU", {str(found[0].runs[0].path): 296_635})
    return {row.name: row.cells for part in parts for row in part.rows}


def test_a_column_tells_what_a_setting_reached_and_took(make_run: Callable[..., Path]) -> None:
    found = table(
        make_run("a", scores=(0.4, 0.5, 0.45), environment={"gpu": "H200"}),
        make_run("b", "fixmatch", scores=(0.6,), seconds=2.0),
        make_run("c", "fixmatch", scores=(0.7,), seconds=4.0, seed=1),
    )
    assert found["Best mIoU"] == ("50.0", "65.0 ± 7.1")
    assert found["Difference to the first"] == ("-", "+15.0")
    assert found["Reached at step"] == ("20", "10")
    assert found["Seeds"] == ("0", "0, 1")
    assert found["Steps"] == ("30", "10")
    assert found["Seconds a step"] == ("0.5", "3")
    assert found["Training, without evaluations"] == ("15 s", "30 s")
    assert found["Images a second"] == ("16", "16")
    assert found["Device"] == ("H200", "Some CPU")
    assert found["Labeled images"] == ("30", "30")
    assert found["Unlabeled images"] == ("not used (4,212)", "4,212")
    assert found["Parameters"] == ("296,635", "-")
    assert found["Method"] == ("supervised", "fixmatch")
    assert "GPU memory, GB" not in found, "no run has logged it"


def test_every_other_setting_that_differs_is_told(make_run: Callable[..., Path]) -> None:
    one = make_run("a", settings={"consistency": {"threshold": 0.7}, "optimizer": {"lr": 1e-3}})
    two = make_run("b", settings={"consistency": {"threshold": 0.95}, "optimizer": {"lr": 1e-3}})
    parts = facts(settings(one, two), "mIoU", {})
    assert [(row.name, row.cells) for row in parts[-1].rows] == [("consistency.threshold", ("0.7", "0.95"))]
    assert {row.name for part in parts for row in part.same} >= {"Learning rate (encoder)", "Method"}


def test_a_run_that_has_not_logged_its_pace_has_no_seconds(make_run: Callable[..., Path]) -> None:
    found = table(make_run("a", seconds=None), make_run("b", "fixmatch"))
    assert found["Seconds a step"] == ("-", "0.5")


def test_a_class_is_held_against_the_first_setting(make_run: Callable[..., Path]) -> None:
    field, road, _ = classes(settings(make_run("a", scores=(0.4,)), make_run("b", "fixmatch", scores=(0.3,))))
    assert (field.name, road.name) == ("field", "road & path")
    assert [cell.text for cell in field.cells] == ["30.0", "20.0"]
    assert [(cell.difference, cell.style) for cell in field.cells] == [("", "level"), ("-10.0", "loss")]


def test_what_rounds_to_nothing_is_neither_gain_nor_loss(make_run: Callable[..., Path]) -> None:
    runs = (make_run("a", scores=(0.4,)), make_run("b", "fixmatch", scores=(0.4004,)))
    level = classes(settings(*runs, make_run("c", "unimatch_v2", scores=(0.41,))))[0].cells
    assert [(cell.difference, cell.style) for cell in level[1:]] == [("±0.0", "level"), ("+1.0", "gain")]


def test_a_class_without_a_figure_has_no_difference(make_run: Callable[..., Path]) -> None:
    other = make_run("b", "fixmatch", scores=(), steps=10)
    assert [cell.text for cell in classes(settings(make_run("a"), other))[0].cells] == ["40.0", "-"]
    assert classes(settings(other)) == []


def test_the_summary_holds_plain_values(make_run: Callable[..., Path]) -> None:
    first, second = settings(make_run("a", scores=(0.4,)), make_run("b", "fixmatch", scores=(0.3,)))
    found = summary(second, first, {})
    assert (found["mean"], found["spread"], found["parameters"], found["gpu_gb"]) == (0.3, None, None, None)
    assert found["difference"] == pytest.approx(-0.1)
    assert found["iou"]["field"] == pytest.approx(0.2)
    assert (found["seconds_per_step"], found["seconds"], found["steps"]) == (0.5, 5.0, [10])
