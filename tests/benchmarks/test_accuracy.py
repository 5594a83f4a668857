from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.accuracy import costs, runs, worker
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.plan import Plan, load_plan, same
from benchmarks.accuracy.table import markdown, summary

from semiseg.config import Config, make_config, to_dict
from semiseg.engine.schedule import lr_scale
from semiseg.errors import ConfigError
from semiseg.methods import find_method

TINY = {
    "reference": "labeled_only",
    "clock": "unimatch_v2",
    "evaluations": 2,
    "seeds": [0],
    "datasets": {
        "tiny": {
            "recipe": "demo",
            "draw": {"labeled": 4, "unlabeled": 6, "val": 2, "size": 64},
            "set": "--data.crop 32 --schedule.steps 8 --schedule.batch 2 --schedule.checkpoint_every 1"
            " --schedule.log_every 1 --optimizer.lr 1e-3",
            "test": "val.txt",
        }
    },
    "variants": {
        "labeled_only": "--method supervised",
        "labeled_only_same": {
            "set": "--method supervised",
            "times": {"schedule.batch": 0.5, "optimizer.lr_batch": 0.5},
        },
        "unimatch_v2": "--method unimatch_v2",
    },
}


def write_plan(folder: Path, **changes: Any) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return load_plan(str(write_plan(tmp_path)), drawn=tmp_path / "drawn")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Any]], Any]:
    """Return `work(job)`: a worker in this process, and the result it writes."""

    def do(job: Mapping[str, Any]) -> Any:
        file, result = tmp_path / "job.json", tmp_path / "result.json"
        file.write_text(json.dumps({**job, "core": None, "result": str(result)}))
        monkeypatch.setattr(sys, "argv", ["worker", str(file)])
        assert worker.main() == 0
        return json.loads(result.read_text())

    return do


def job_of(run: runs.Run) -> dict[str, Any]:
    return {"facts": {"dataset": "tiny"}, "config": run.config, "test": str(run.dataset.test)}


def runs_of(plan: Plan, out: Path, *only: str) -> list[runs.Run]:
    found = runs.plan_runs(plan, out, only, ["steps"], [])
    for run in found:
        run.dataset.prepare()
    return found


def test_what_was_cut_off_goes_on_and_what_is_finished_stays(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finished, cut = runs_of(plan, tmp_path, "/labeled_only", "/unimatch_v2")
    finished.result.parent.mkdir(parents=True)
    finished.result.write_text(
        json.dumps({**made("labeled_only", 0, 0.3), "dataset": "tiny", "config": finished.config})
    )
    table = tmp_path / "table.json"
    words = [str(tmp_path / "plan.yaml"), "--out", str(tmp_path), "--only", "/labeled_only", "/unimatch_v2"]
    words += ["--jobs", "1", "--json", str(table)]

    def interrupt(seconds: float) -> None:
        if list((tmp_path / "runs/tiny/unimatch_v2/seed0/checkpoints").glob("step_*")):
            raise KeyboardInterrupt
        threading.Event().wait(0.05)

    with monkeypatch.context() as patches:
        patches.setattr(runs.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            main(words)
    assert "1 trainings save where they are" in capsys.readouterr().err
    assert not cut.result.exists()

    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 runs, 1 finished before" in said
    assert "[1/1] tiny/unimatch_v2/seed0: val" in said
    result = json.loads(cut.result.read_text())
    assert result["seconds"]["starts"] == 2
    assert "resumed after step" in (tmp_path / "runs/tiny/unimatch_v2/seed0.log").read_text()
    rows = json.loads(table.read_text())["tiny"]["steps"]
    assert rows["labeled_only"]["last"]["mean"] == pytest.approx(30)
    assert rows["unimatch_v2"]["last"]["mean"] == pytest.approx(100 * result["last"]["teacher"])
    assert rows["unimatch_v2"]["last_difference"]["seeds"].keys() == {"0"}


def test_a_result_holds_what_training_logged_and_the_last_model_is_judged(
    plan: Plan, tmp_path: Path, work: Callable[[Mapping[str, Any]], Any]
) -> None:
    (run,) = runs_of(plan, tmp_path, "tiny/unimatch_v2")
    result = work(job_of(run))
    assert result["judged"] == "teacher"
    assert [int(step) for step in result["curves"]["teacher"]] == [4, 8]
    assert result["last"]["teacher"] == result["curves"]["teacher"]["8"]
    assert result["best"]["teacher"] == max(result["curves"]["teacher"].values())
    # The list that stands for test images here is the val list, so that the last model has to reach the logged figure.
    assert result["test"]["score"] == pytest.approx(result["last"]["teacher"], abs=1e-6)
    assert result["test"]["classes"] == pytest.approx(result["classes"]["teacher"], abs=1e-6)
    assert result["test"]["images"] == 2
    seconds = result["seconds"]
    assert 0 < seconds["training_cpu"] == pytest.approx(8 * seconds["cpu_per_step"])
    assert seconds["training_wall"] < seconds["all_wall"]


def test_what_another_configuration_left_half_done_is_not_continued(
    plan: Plan, tmp_path: Path, work: Callable[[Mapping[str, Any]], Any]
) -> None:
    (run,) = runs_of(plan, tmp_path, "tiny/labeled_only")
    settings = {**run.config, "optimizer": {**run.config["optimizer"], "weight_decay": 0.5}}
    work({**job_of(run), "config": settings})
    result = work(job_of(run))
    assert result["config"]["optimizer"]["weight_decay"] == run.config["optimizer"]["weight_decay"]
    assert result["seconds"]["starts"] == 1


@pytest.mark.parametrize(("word", "name"), [("labeled_only", "labeled_only"), ("tiny/labeled_onyl", "labeled_onyl")])
def test_a_choice_that_names_nothing_of_the_plan_is_refused(word: str, name: str, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"the plan has no '{name}'"):
        runs_of(plan, tmp_path, word)


def test_steps_are_timed_without_an_evaluation(
    plan: Plan, tmp_path: Path, work: Callable[[Mapping[str, Any]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiseg.engine.training.evaluate_run", lambda *_: pytest.fail("evaluated"))
    configs = [run.config for run in runs_of(plan, tmp_path)]
    ((*seconds,),) = work({"calibrate": [configs]})
    assert len(seconds) == 3
    assert all(each["cpu"] > 0 and each["wall"] > 0 and each["steps"] == 5 for each in seconds)


def test_equal_time_gives_a_cheaper_variant_more_steps(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(self: costs.Costs, variants: Any, core: int | None) -> Any:
        assert [variant.name for variant in variants] == ["unimatch_v2", "labeled_only", "labeled_only_same"]
        return [[{"cpu": 2.0 * busy}, {"cpu": 1.0 * busy}, {"cpu": 0.5 * busy}] for busy in (1, 3, 2)]

    monkeypatch.setattr(costs.Costs, "_rounds", timed)
    found = runs.plan_runs(plan, tmp_path, [], ["time"], [None])
    assert {run.name: run.config["schedule"]["steps"] for run in found} == {
        "tiny/unimatch_v2/seed0": 8,
        "tiny/labeled_only@time/seed0": 16,
        "tiny/labeled_only_same@time/seed0": 32,
    }
    assert {run.config["evaluation"]["every_steps"] for run in found} == {4, 8, 16}
    monkeypatch.setattr(costs.Costs, "_rounds", lambda *_: pytest.fail("timed again"))
    assert runs.plan_runs(plan, tmp_path, [], ["time"], [None]) == found


def test_the_second_control_has_the_labeled_crops_and_the_rate_of_the_others(plan: Plan) -> None:
    dataset = plan.datasets["tiny"]
    configs = {name: plan.config(dataset, variant) for name, variant in plan.variants.items()}
    crops = {
        name: config.schedule.batch * find_method(config.method).labeled_factor for name, config in configs.items()
    }
    assert crops == {"labeled_only": 4, "labeled_only_same": 2, "unimatch_v2": 2}
    rates = {config.optimizer.lr * lr_scale(config.optimizer, config.schedule.batch) for config in configs.values()}
    assert len(rates) == 1


def test_a_result_of_another_configuration_is_put_aside(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = runs_of(plan, tmp_path, "tiny/labeled_only")
    run.result.parent.mkdir(parents=True)
    run.result.write_text(json.dumps({"config": {**run.config, "run": {"folder": "elsewhere", "name": "a"}}}))
    assert run.found() is not None, "another place is no other configuration"
    run.result.write_text(json.dumps({"config": {**run.config, "precision": "bf16"}}))
    assert run.found() is None
    monkeypatch.setattr(runs, "start", lambda *_: None)
    run.start(None)
    assert not run.result.exists()
    assert run.result.with_suffix(".replaced.json").exists()


def test_a_key_that_a_result_does_not_know_yet_has_its_default() -> None:
    now = to_dict(Config())
    before = {key: value for key, value in now.items() if key != "precision"}
    assert same(before, now)
    assert not same(before, {**now, "precision": "bf16"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clock": "unimatch_v3"}, ["unimatch_v3", "unimatch_v2"]),
        ({"dataset": {}}, ["'dataset'", "datasets"]),
        ({"datasets": {"street": {"root": "DATA/streets"}}}, ["street", "--data"]),
    ],
)
def test_a_plan_with_an_error_is_refused(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_plan(str(write_plan(tmp_path, **changes)), drawn=tmp_path)
    assert all(word in str(error.value) for word in words)


def made(variant: str, seed: int, last: float, *, test: float | None = None, budget: str = "steps") -> dict[str, Any]:
    """Return a hand-made result; its best evaluation is a point above the last."""
    judged = "student" if variant == "labeled_only" else "teacher"
    scores = {"student": last} if judged == "student" else {"student": last - 0.02, "teacher": last}
    keys = ("training_cpu", "training_wall", "all_cpu", "all_wall", "cpu_per_step", "wall_per_step")
    return {
        "dataset": "fields",
        "variant": variant,
        "budget": budget,
        "seed": seed,
        "score": "miou",
        "judged": judged,
        "last": scores,
        "best": {"step": 3, **{name: value + 0.01 for name, value in scores.items()}},
        "classes": {judged: {"soil": last + 0.1, "crop": last - 0.1}},
        "test": None if test is None else {"score": test, "trained_on": 0, "classes": {"soil": test, "crop": test}},
        "config": {"schedule": {"steps": 100}},
        "seconds": dict.fromkeys(keys, 60.0 * (seed + 1)),
        "commit": "abc",
        "machine": {"cpu": "a CPU", "torch": "2", "date": "2026-11-28"},
    }


def test_a_table_has_means_spreads_and_differences_over_common_seeds() -> None:
    results = [made("labeled_only", seed, last, test=0.3) for seed, last in ((0, 0.30), (1, 0.34), (2, 0.38))]
    results += [made("unimatch_v2", seed, last, test=0.4) for seed, last in ((0, 0.36), (2, 0.40), (3, 0.99))]
    rows = summary(results, "labeled_only", "unimatch_v2")["fields"]["steps"]
    assert rows["labeled_only"]["last"] == pytest.approx({"mean": 34, "std": 4})
    assert rows["labeled_only"]["best"]["mean"] == pytest.approx(35)
    assert rows["labeled_only"]["last_difference"] is None
    difference = rows["unimatch_v2"]["last_difference"]
    assert difference["seeds"] == pytest.approx({0: 6, 2: 2})
    assert (difference["mean"], difference["std"]) == pytest.approx((4, 8**0.5))
    assert rows["unimatch_v2"]["test_difference"]["mean"] == pytest.approx(10)
    assert rows["unimatch_v2"]["training_cpu"] == pytest.approx(60 * 8 / 3)
    text = markdown({"fields": {"steps": rows}}, "labeled_only", classes=True)
    assert "| labeled_only | 100 | 2.0 | 3 | 34.0 ± 4.0 | 35.0 ± 4.0 |  |  |  | 30.0 ± 0.0 |  |  |" in text
    assert "| +4.0 ± 2.8 | +6.0, +2.0 | 40.0 ± 0.0 | +10.0 ± 0.0 | +10.0, +10.0 |" in text
    assert "| soil | 44.0 | 68.3 |" in text
    assert "no claim" not in text


def test_a_table_of_equal_time_holds_the_clock_and_says_that_seeds_are_few() -> None:
    results = [
        made("labeled_only", 0, 0.3),
        made("labeled_only", 0, 0.4, budget="time"),
        made("unimatch_v2", 0, 0.35),
    ]
    tables = summary(results, "labeled_only", "unimatch_v2")["fields"]
    differences = {budget: rows["unimatch_v2"]["last_difference"]["mean"] for budget, rows in tables.items()}
    assert differences == pytest.approx({"steps": 5, "time": -5})
    text = markdown({"fields": tables}, "labeled_only")
    assert "**fields, equal time**" in text
    assert text.count("Only 1 of 3 seeds: no claim can rest on this.") == 2
    assert "test" not in text


def test_a_student_waits_for_its_teachers_and_its_time_holds_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = {"set": "--method fixmatch", "teachers": "labeled_only", "labels": {"scales": [1.0], "flip": False}}
    variants = {"student": student, "labeled_only": "--method supervised", "unimatch_v2": "--method unimatch_v2"}
    path = write_plan(tmp_path, variants=variants)
    words = [str(path), "--out", str(tmp_path), "--jobs", "1", "--only", "/student"]
    assert main(words) == 1
    assert "its teacher tiny/labeled_only/seed0 is not trained" in capsys.readouterr().out
    assert main([*words, "/labeled_only"]) == 0
    found = {
        name: json.loads((tmp_path / f"results/tiny/{name}/seed0.json").read_text())
        for name in variants
        if name != "unimatch_v2"
    }
    taught, alone = (found[name]["seconds"] for name in ("student", "labeled_only"))
    assert taught["training_cpu"] > alone["training_cpu"] + 8 * taught["cpu_per_step"]
    labels = list((tmp_path / "runs/tiny/student/seed0.labels/labels").rglob("*.png"))
    assert len(labels) == 6


def test_a_student_that_was_cut_off_is_not_taken_for_one_of_other_settings(plan: Plan, tmp_path: Path) -> None:
    (run,) = runs_of(plan, tmp_path, "/unimatch_v2")
    config = make_config(run.config, where="the plan")
    taught = worker.taught_by(config, ["anyone"])
    assert taught.data.teacher == f"{run.folder}.labels"
    run.folder.mkdir(parents=True)
    file, spent = run.folder / "config.yaml", run.folder.with_suffix(".seconds.json")
    file.write_text(yaml.safe_dump(to_dict(taught)))
    worker.forget_another(run.folder, spent, taught)
    assert file.is_file()
    worker.forget_another(run.folder, spent, config)
    assert not file.exists()
