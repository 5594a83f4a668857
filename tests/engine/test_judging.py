"""What goes wrong in an evaluation costs nobody the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from semiseg.api import TrainedRun
from semiseg.engine import judging
from semiseg.engine.evaluation import Evaluator
from semiseg.models import load_model

TrainTiny = Callable[..., TrainedRun]
EVERY = ("--schedule.steps", "6", "--evaluation.every", "1")


def fail_first(monkeypatch: pytest.MonkeyPatch, error: BaseException, times: int = 1) -> None:
    evaluate, left = Evaluator.evaluate, [error] * times

    def failing(self: Evaluator, *args: Any, **options: Any) -> Any:
        if left:
            raise left.pop()
        return evaluate(self, *args, **options)

    monkeypatch.setattr(Evaluator, "evaluate", failing)


def test_an_evaluation_without_enough_memory_is_said_and_the_training_goes_on(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_first(monkeypatch, torch.OutOfMemoryError("out of\nmemory"))
    run = train_tiny("x", *EVERY)
    assert run.result.steps == 6
    assert run.result.best_step == 6
    log = (run.path / "train.log").read_text()
    assert "no evaluation after step 3, training goes on (OutOfMemoryError: out of memory)" in log
    assert "--evaluation.batch 1" in log


def test_a_run_whose_evaluations_all_fail_still_has_a_model(
    train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_first(monkeypatch, torch.OutOfMemoryError("out of memory"), times=9)
    run = train_tiny("x", *EVERY)
    assert run.result.best is None
    assert load_model(run.path)[1].metrics == {"step": 6.0}


def test_a_picture_that_cannot_be_drawn_costs_no_figure(train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise OSError("image file is truncated")

    monkeypatch.setattr(judging, "draw_samples", damaged)
    run = train_tiny("x")
    assert run.result.best is not None
    assert "no pictures, training goes on (OSError: image file is truncated)" in (run.path / "train.log").read_text()


def test_the_checkpoint_is_there_before_the_evaluation(train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    evaluate = Evaluator.evaluate

    def watched(self: Evaluator, *args: Any, **options: Any) -> Any:
        seen.append(sorted(path.name for path in folder.glob("step_*")))
        return evaluate(self, *args, **options)

    monkeypatch.setattr(Evaluator, "evaluate", watched)
    (folder,) = (Path(train_tiny("probe").path.parent / "x" / "checkpoints"),)
    seen.clear()
    train_tiny("x", *EVERY)
    assert seen == [["step_00000003"], ["step_00000003", "step_00000006"]]


def test_an_evaluation_that_ends_the_process_is_tried_again_once_and_then_left_out(
    train_tiny: TrainTiny,
    train_once: TrainTiny,
    monkeypatch: pytest.MonkeyPatch,
    end_state: Callable[[Path], dict[str, torch.Tensor]],
) -> None:
    """As the system's killer of processes without memory would, again and again."""
    whole = train_once(*EVERY)
    fail_first(monkeypatch, SystemExit(137), times=2)
    for resume in (False, True):
        with pytest.raises(SystemExit):
            train_tiny("x", *EVERY, resume=resume)
    run = train_tiny("x", *EVERY, resume=True)
    assert (
        "the evaluation after step 3 ended the process before and is left out" in (run.path / "train.log").read_text()
    )
    mine, theirs = end_state(run.path), end_state(whole.path)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs if not name.startswith("model/"))
    assert run.result.best_step == 6


def test_an_evaluation_that_was_cut_off_comes_again_and_is_logged_once(
    train_tiny: TrainTiny,
    train_once: TrainTiny,
    monkeypatch: pytest.MonkeyPatch,
    numbers: Callable[[Path], dict[tuple[int, str], float]],
) -> None:
    whole = train_once(*EVERY)
    fail_first(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train_tiny("x", *EVERY)
    run = train_tiny("x", *EVERY, resume=True)
    assert numbers(run.path) == numbers(whole.path)
    assert run.result.best == whole.result.best
