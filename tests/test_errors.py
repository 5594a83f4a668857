from __future__ import annotations

import pickle

import pytest

from semiseg.errors import ConfigError, DataError, ModelError, RunError, SemisegError, closest

KINDS = [ConfigError, DataError, ModelError, RunError]


def test_a_message_says_what_where_what_was_expected_and_the_remedy() -> None:
    error = DataError("empty list", where="val.txt", expected="one image a line", remedy="fill the list")
    assert str(error) == ("empty list\n  where:    val.txt\n  expected: one image a line\n  remedy:   fill the list")


def test_where_and_expected_may_be_left_out_but_not_the_remedy() -> None:
    assert str(RunError("no run", remedy="begin one")) == "no run\n  remedy:   begin one"
    assert "where:    0" in str(RunError("no run", where=0, remedy="begin one"))
    with pytest.raises(TypeError, match="remedy"):
        RunError("no run")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_caught_as_the_one_the_command_line_prints(kind: type[SemisegError]) -> None:
    with pytest.raises(SemisegError, match="x"):
        raise kind("x", remedy="y")


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_text_stays_as_it_is(kind: type[SemisegError]) -> None:
    error = kind.of_text("one\ntwo")
    assert type(error) is kind
    assert str(error) == "one\ntwo"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_whole_from_another_process(kind: type[SemisegError]) -> None:
    for error in (kind("x", where="y", remedy="z"), kind.of_text("x")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert str(again) == str(error)


def test_the_closest_name_is_proposed_and_nothing_where_none_is_near() -> None:
    assert closest("modle", ["method", "model", "data"]) == "; did you mean 'model'?"
    assert closest("xyz", ["method", "model"]) == ""
    assert closest("x", []) == ""
    assert closest("a", iter({"ab": 1})) == "; did you mean 'ab'?"
