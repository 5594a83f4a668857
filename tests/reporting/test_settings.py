from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semiseg.reporting.record import read_run
from semiseg.reporting.settings import Figures, group
from semiseg.reporting.wording import points


def labels(*runs: Path) -> list[str]:
    return [setting.label for setting in group([read_run(run) for run in runs])]


def test_runs_that_differ_by_seed_name_and_machine_are_one_setting(make_run: Callable[..., Path]) -> None:
    first = make_run("a", seed=0, scores=(0.4,))
    second = make_run("b", seed=1, scores=(0.5, 0.6), settings={"device": "cuda"}, environment={"gpu": "H"})
    other = make_run("c", "fixmatch", seed=1)
    [supervised, fixmatch] = group([read_run(run) for run in (first, other, second)])
    assert [run.name for run in supervised.runs] == ["a", "b"]
    assert [run.name for run in fixmatch.runs] == ["c"]
    assert supervised.best.values == (0.4, 0.6)
    assert supervised.iou("field").values == pytest.approx((0.3, 0.5))
    assert (supervised.labeled_only, fixmatch.labeled_only) == (True, False)


def test_a_setting_is_named_by_its_method_and_what_tells_it_from_others_of_that_method(
    make_run: Callable[..., Path],
) -> None:
    small = make_run("a", "fixmatch", settings={"model": {"encoder": "small"}, "schedule": {"batch": 4}})
    large = make_run("b", "fixmatch", settings={"model": {"encoder": "large"}, "schedule": {"batch": 4}})
    assert labels(make_run("c"), small, large) == ["labeled-only", "fixmatch, encoder small", "fixmatch, encoder large"]


def test_where_many_settings_differ_the_name_of_the_run_says_it(make_run: Callable[..., Path]) -> None:
    one = make_run("a", settings={"strong": dict.fromkeys("wxyz", 1)})
    two = make_run("b", settings={"strong": dict.fromkeys("wxyz", 2)})
    assert labels(one, two) == ["labeled-only, a", "labeled-only, b"]


def test_of_many_differing_values_those_that_tell_most_are_in_the_name(make_run: Callable[..., Path]) -> None:
    def run(name: str, root: str, batch: int, **changed: Any) -> Path:
        many = {"optimizer": dict.fromkeys("wxyz", batch), "fixmatch": {"dropout": batch}}
        return make_run(name, "fixmatch", settings={"data": {"root": root}, **many, **changed})

    small = run("a", "/data/of a user/fields", 4, model={"encoder": "small"}, schedule={"steps": 500, "epochs": None})
    large = run("b", "/data/of a user/roads", 8, model={"encoder": "large"}, schedule={"steps": None, "epochs": 60})
    assert labels(small, large) == [
        "fixmatch, encoder small, root fields, steps 500",
        "fixmatch, encoder large, root roads, epochs 60",
    ]
    third = run("c", "/data/of a user/roads", 9, model={"encoder": "large"}, schedule={"steps": None, "epochs": 60})
    assert [label.rpartition(", ")[2] for label in labels(small, large, third)[1:]] == ["b", "c"]


def test_a_long_value_is_cut(make_run: Callable[..., Path]) -> None:
    runs = [make_run(name, settings={"data": {"unlabeled": [f"/a/folder/{name}" * 9]}}) for name in "ab"]
    assert all(len(label) < 60 for label in labels(*runs))
    assert len({*labels(*runs)}) == 2


def test_keys_of_a_later_version_and_of_other_methods_make_no_other_setting(make_run: Callable[..., Path]) -> None:
    old = make_run("a", "fixmatch", settings={"fixmatch": {"dropout": "none"}})
    new = make_run(
        "b", "fixmatch", seed=1, settings={"fixmatch": {"dropout": "none", "later": 1}, "unimatch_v2": {"x": 1}}
    )
    own = make_run("c", "fixmatch", settings={"fixmatch": {"dropout": "random"}})
    assert labels(old, new) == ["fixmatch"]
    assert labels(old, new, own) == ["fixmatch, dropout none", "fixmatch, dropout random"]


def test_a_method_that_is_not_registered_is_no_labeled_only_one(make_run: Callable[..., Path]) -> None:
    [setting] = group([read_run(make_run("a", "of_a_plugin"))])
    assert (setting.label, setting.labeled_only) == ("of_a_plugin", False)


def test_the_spread_is_the_standard_deviation_of_single_runs() -> None:
    assert Figures((0.2, 0.3, 0.4)).text(points) == "30.0 ± 10.0"
    assert Figures((0.318,)).text(points) == "31.8"
    assert Figures(()).text(points) == "-"
