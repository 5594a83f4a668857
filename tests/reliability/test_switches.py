"""R2, R11: with all switches on at once, a run resumes to its bits, and two processes learn what one does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fidelity import computing_in  # benchmarks/fidelity.py
from float64 import PROGRAM  # tests/support
from safetensors.torch import load_file

from semiseg.api import TrainedRun
from semiseg.engine import training

TrainTiny = Callable[..., TrainedRun]
Numbers = Callable[[Path], dict[tuple[int, str], float]]
WORDS = (
    *("--consistency.pixels", "by_share", "--consistency.class_thresholds", "true", "--consistency.alignment", "0.7"),
    *("--consistency.warm_up", "0.25", "--optimizer.frozen_start", "0.5", "--loss.view", "strong"),
    *("--schedule.conflict_every", "2", "--schedule.steps", "8", "--schedule.checkpoint_every", "3"),
)
"""The encoder learns from step 5 on, pseudo-labels from step 3 on; a checkpoint falls into both parts and at step 3."""


def tensors(run: Path, step: int = 8) -> dict[str, torch.Tensor]:
    found = load_file(run / "checkpoints" / f"step_{step:08d}" / "tensors.safetensors")
    return {name: tensor.clone() for name, tensor in found.items()}


class Died(BaseException):
    """The process, at a moment of the test's choosing."""


def test_r02_a_run_with_every_switch_resumes_before_and_after_the_encoder_is_let_go(
    train_tiny: TrainTiny, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_tiny("whole", *WORDS).path
    train_step = training.train_step
    for died_in in (5, 7):

        def dying(task: Any, state: Any, *rest: Any, last: int = died_in) -> None:
            if state.step == last:
                raise Died
            train_step(task, state, *rest)

        monkeypatch.setattr(training, "train_step", dying)
        with pytest.raises(Died):
            train_tiny("died", *WORDS, resume=died_in == 7)
    monkeypatch.undo()
    resumed = train_tiny("died", *WORDS, resume=True).path
    for step in (3, 6):
        assert f"resumed after step {step}" in (resumed / "train.log").read_text()
    assert numbers(resumed) == numbers(whole)
    mine, theirs = tensors(resumed), tensors(whole)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def test_the_encoder_stands_still_and_then_learns_with_a_rate_that_rises(
    train_tiny: TrainTiny, numbers: Numbers
) -> None:
    words = [word if word != "3" else "4" for word in WORDS]
    run = train_tiny("x", *words).path
    before, after = tensors(run, 4), tensors(run)
    encoder = {name for name in before if name.startswith("student/encoder.")}
    fresh = train_tiny("y", *words[:-4], "--schedule.steps", "1", "--optimizer.lr", "0").path
    assert all(torch.equal(before[name], tensors(fresh, 1)[name]) for name in encoder)
    assert any(not torch.equal(before[name], after[name]) for name in encoder)
    slots = [{name for name in found if name.startswith("optimizer/")} for found in (before, after)]
    assert slots[0] < slots[1], "what the optimizer knows of the encoder begins when it is let go"
    rates = [numbers(run)[step, "train/lr"] for step in range(1, 9)]
    decay = [1.0, 1.0, *((1 - step / 8) ** 0.9 for step in range(1, 7))]
    assert rates == pytest.approx(
        [1e-3 * rate * part for rate, part in zip(decay, (0, 0, 0, 0, 0.5, 1, 1, 1), strict=True)]
    )
    assert "the encoder stands still in the first 4 steps" in (run / "train.log").read_text()


def test_conflicts_are_logged_and_change_no_bit(train_tiny: TrainTiny, numbers: Numbers) -> None:
    words = ("--schedule.steps", "4", "--consistency.warm_up", "0.5")
    without, measured = train_tiny("a", *words).path, train_tiny("b", *words, "--schedule.conflict_every", "1").path
    found = numbers(measured)
    cosines = {step: found.pop((step, "train/gradient_cosine")) for step in (3, 4)}
    assert all(-1 <= cosine <= 1 for cosine in cosines.values())
    assert found == numbers(without), "the first two steps learn from labels alone, and have no cosine"
    mine, theirs = tensors(measured, 4), tensors(without, 4)
    assert all(torch.equal(tensor, mine[name]) for name, tensor in theirs.items())


def test_r11_two_processes_with_every_switch_learn_what_one_does(
    tiny_words: Callable[..., list[str]],
    train_tiny: TrainTiny,
    launch_two: Callable[..., str],
    numbers: Numbers,
    tmp_path: Path,
) -> None:
    """In float64, see test_r11_two_processes.py; crops have padding, each process another share of it."""
    words = (*WORDS, "--data.scale", "[0.2, 0.9]", "--schedule.batch", "8")
    with computing_in("float64"):
        alone = train_tiny("alone", *words).path
    launch_two([PROGRAM, "train"], tiny_words("together", *words, "--schedule.per_device", "2"))
    expected, found = numbers(alone), numbers(tmp_path / "together")
    assert found.keys() == expected.keys()
    compared = [key for key in expected if key[1].startswith(("train/loss", "train/lr", "train/gradient_cosine"))]
    assert len(compared) > 30
    assert [(key, found[key], expected[key]) for key in compared if abs(found[key] - expected[key]) > 1e-9] == []
    mine, theirs = tensors(tmp_path / "together"), tensors(alone)
    for name in (name for name in theirs if name.startswith(("method/", "student/"))):
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=1e-7)
    assert theirs["method/habits/means"].count_nonzero() > 12
