from __future__ import annotations

from pathlib import Path

import pytest

from semiseg.engine.verdicts import TRIES, Verdicts


def test_the_best_is_the_latest_of_equals(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path / "evaluations.json")
    assert (verdicts.best, verdicts.best_step) == (None, 0)
    for step, value in ((3, 0.25), (6, 0.5), (9, 0.5), (12, 0.125)):
        verdicts.end(step, value, write=True)
    assert (verdicts.best, verdicts.best_step) == (0.5, 9)


def test_a_resumed_run_knows_what_was_found_up_to_its_step(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path / "evaluations.json")
    for step, value in ((3, 0.25), (6, 0.5)):
        verdicts.begin(step, write=True)
        verdicts.end(step, value, write=True)
    again = Verdicts.read(verdicts.path, 4, pytest.fail)
    assert again.found == {3: 0.25}
    assert again.begun == {}


def test_an_evaluation_that_never_ends_is_begun_so_often_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.json"
    for _ in range(TRIES):
        verdicts = Verdicts.read(path, 3, pytest.fail)
        assert verdicts.may_begin(3)
        verdicts.begin(3, write=True)
    assert not Verdicts.read(path, 3, pytest.fail).may_begin(3)
    assert Verdicts.read(path, 3, pytest.fail).may_begin(6)


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path / "evaluations.json")
    verdicts.begin(3, write=False)
    assert not verdicts.path.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"found": {"x": 1}, "begun": {}}', '{"found": {"3": null}, "begun": {}}'])
def test_a_damaged_file_is_said_and_forgotten(tmp_path: Path, text: str) -> None:
    path, said = tmp_path / "evaluations.json", list[str]()
    path.write_text(text)
    assert Verdicts.read(path, 3, said.append).found == {}
    assert "evaluations.json is damaged" in said[0]
