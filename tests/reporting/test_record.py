from __future__ import annotations

from pathlib import Path

import pytest

from semiseg.errors import ModelError, RunError
from semiseg.reporting.record import Point, read_run


def test_the_best_evaluation_is_the_teachers_highest_with_the_student_of_that_step(finished_run: Path) -> None:
    best = read_run(finished_run).best()
    assert best is not None
    assert (best.step, best.epoch) == (15, 3.0)
    assert best.figures == {"teacher": 0.70, "student": pytest.approx(0.60)}
    assert [name for name, _ in best.classes] == ["field", "road & path", "<b>water</b>"]
    assert [found["teacher"] for _, found in best.classes] == pytest.approx([0.6, 0.7, 0.8])
    assert [found["student"] for _, found in best.classes] == pytest.approx([0.5, 0.6, 0.7])


def test_of_equal_scores_the_last_counts_as_it_does_for_the_model_that_is_kept(finished_run: Path) -> None:
    with (finished_run / "metrics.csv").open("a") as file:
        file.write("25,5,teacher/miou,0.7\n")
    best = read_run(finished_run).best()
    assert best is not None
    assert best.step == 25


def test_a_method_without_a_teacher_is_judged_by_its_student(fresh_run: Path) -> None:
    rows = "step,epoch,name,value\n5,1,student/miou,0.4\n5,1,student/iou/field,0.4\n10,2,student/miou,0.3\n"
    (fresh_run / "metrics.csv").write_text(rows)
    record = read_run(fresh_run)
    best = record.best()
    assert record.models() == ("student",)
    assert best is not None
    assert (best.step, best.figures, best.classes) == (5, {"student": 0.4}, (("field", {"student": 0.4}),))


def test_a_run_without_evaluations_has_no_best(fresh_run: Path) -> None:
    record = read_run(fresh_run)
    assert record.best() is None
    assert record.card is None
    assert record.samples == ()


def test_a_resumed_runs_repeated_steps_count_once_with_their_later_value(fresh_run: Path) -> None:
    rows = "step,epoch,name,value\n1,1,train/loss,9\n2,1,train/loss,8\n3,1,train/loss,7\n2,1,train/loss,5\n"
    (fresh_run / "metrics.csv").write_text(rows)
    points = read_run(fresh_run).metrics["train/loss"]
    assert [(point.step, point.value) for point in points] == [(1, 9), (2, 5), (3, 7)]


def test_figures_that_are_none_and_a_row_that_is_being_written_are_left_out(fresh_run: Path) -> None:
    wrong = "1,1,train/loss,nan\n2,1,train/loss,inf\n2,nan,train/loss,1\n2,1,train/loss,1e300\n" + "9" * 400
    rows = f"step,epoch,name,value\n{wrong},1,train/loss,1\n3,1,train/loss,0.5\n4,1,train/lo"
    (fresh_run / "metrics.csv").write_text(rows)
    assert read_run(fresh_run).metrics == {"train/loss": (Point(3, 1.0, 0.5),)}


def test_settings_are_found_by_dotted_keys(fresh_run: Path) -> None:
    record = read_run(fresh_run)
    assert record.setting("model.encoder") == "vit_nano"
    assert record.setting("seed") == "7"
    for key in ("model", "model.nothing", "seed.nothing", "nothing.there"):
        assert record.setting(key) is None


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_is_no_run_directory_is_refused_with_a_remedy(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match=r"run directory(.|\n)*remedy: "):
        read_run(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", b"a: [1"),
        ("config.yaml", b"a: !!python/object/apply:os.getcwd []"),
        ("config.yaml", b"\xff\xfe\x00"),
        ("environment.json", b'{"a": '),
        ("environment.json", b"[" * 100_000),
    ],
)
def test_a_damaged_file_is_named(fresh_run: Path, name: str, content: bytes) -> None:
    (fresh_run / name).write_bytes(content)
    with pytest.raises(RunError, match=name):
        read_run(fresh_run)


def test_a_damaged_model_card_is_named(finished_run: Path) -> None:
    (finished_run / "model" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json"):
        read_run(finished_run)
