"""R1, R2: a run that dies at any moment, also amid an epoch, continues to the very bits of one that did not."""

from __future__ import annotations

import csv
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Forked  # tests/support
from safetensors.torch import load_file
from students import student_words

from semiseg.api import TrainedRun
from semiseg.engine import judging, saving, training
from semiseg.errors import RunError
from semiseg.methods import METHODS

TrainTiny = Callable[..., TrainedRun]
Numbers = Callable[[Path], dict[tuple[int, str], float]]
Start = Callable[..., None]

# An epoch is 3 steps: checkpoints and evaluations fall apart and together.
LENGTHS = ("--schedule.steps", "13", "--schedule.checkpoint_every", "4", "--evaluation.every", "1")


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of the last checkpoint and of the model."""
    found = load_file(sorted((run / "checkpoints").iterdir())[-1] / "tensors.safetensors")
    model = load_file(run / "model" / "model.safetensors")
    found |= {f"model/{name}": tensor for name, tensor in model.items()}
    return {name: tensor.clone() for name, tensor in found.items()}  # what was loaded is still the file


def files(run: Path) -> list[str]:
    """Return the names of a run's files, but for charts and the note of who last held it, which tell the time."""
    names = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
    return sorted(name for name in names if not name.startswith("tensorboard/") and name != ".lock")


def assert_same_run(found: Path, expected: Path, numbers: Numbers) -> None:
    assert numbers(found) == numbers(expected)
    mine, theirs = tensors(found), tensors(expected)
    assert mine.keys() == theirs.keys()
    assert any(name.startswith("optimizer/") for name in mine)
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    assert files(found) == files(expected)
    for name in files(found):
        if name.startswith("samples/"):
            assert (found / name).read_bytes() == (expected / name).read_bytes()


def has_row(metrics: Path, step: int, name: str) -> bool:
    try:
        with metrics.open(newline="") as file:
            return any(row[:1] == [str(step)] and row[2:3] == [name] for row in csv.reader(file))
    except FileNotFoundError:
        return False


@pytest.fixture
def start_and_kill(tiny_words: Callable[..., list[str]], tmp_path: Path) -> Start:
    """Return `start_and_kill(words, step, name)`: train in a process that is killed once it has logged that number."""

    def run(words: tuple[str, ...], step: int, name: str) -> None:
        process = Forked(["-m", "semiseg", "train"], tiny_words("killed", *words), tmp_path / "said")
        deadline = time.monotonic() + 120
        while process.poll() is None and not has_row(tmp_path / "killed" / "metrics.csv", step, name):
            assert time.monotonic() < deadline, "the training does not get on"
            time.sleep(0.002)
        process.kill()
        assert process.poll() == -signal.SIGKILL, "the run ended before it could be killed"

    return run


@pytest.mark.parametrize(("workers", "seed"), [("0", 0), ("1", 2), ("2", 1)])
def test_r02_a_run_that_is_killed_again_and_again_ends_as_if_undisturbed(
    train_tiny: TrainTiny,
    train_once: TrainTiny,
    numbers: Numbers,
    start_and_kill: Start,
    tmp_path: Path,
    workers: str,
    seed: int,
) -> None:
    words = (*LENGTHS, "--data.workers", workers)
    undisturbed = train_once(*LENGTHS)
    moments = random.Random(seed)
    start_and_kill(words, moments.randint(1, 2), "train/loss")
    assert not list((tmp_path / "killed" / "checkpoints").glob("step_*")), "killed before the first checkpoint"
    start_and_kill((*words, "--resume"), 6, "teacher/miou")
    start_and_kill((*words, "--resume"), moments.randint(7, 11), "train/loss")
    resumed = train_tiny("killed", *words, resume=True)
    assert_same_run(resumed.path, undisturbed.path, numbers)
    assert (resumed.result.best, resumed.result.best_step) == (undisturbed.result.best, undisturbed.result.best_step)
    log = (resumed.path / "train.log").read_text()
    assert "no checkpoint yet: starting from the first step" in log
    assert "resumed after step 6" in log


class Died(BaseException):
    """The process, at a moment of the test's choosing."""


MOMENTS = {
    "write_report": judging,
    "save_state": training,
    "save_checkpoint": saving,
    "draw_samples": judging,
    "save_model": judging,
}
"""What may be the last that a process does, and which module asks for it."""


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, moment: str, nth: int) -> Iterator[None]:
    """Let the training die when it calls a function for the nth time."""
    module, calls = MOMENTS[moment], list[int]()
    original = getattr(module, moment)

    def die(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            raise Died
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, moment, die)
        with pytest.raises(Died):
            yield


@pytest.mark.parametrize(
    ("moment", "nth"),
    [("write_report", 2), ("save_state", 2), ("save_checkpoint", 2), ("draw_samples", 2), ("save_model", 1)],
)
def test_r01_a_run_that_dies_beside_a_checkpoint_repeats_what_is_lost(
    train_tiny: TrainTiny,
    train_once: TrainTiny,
    numbers: Numbers,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    nth: int,
) -> None:
    """Die in an evaluation or a checkpoint, in most cases the second; log means over three steps."""
    words = ("--method", "fixmatch", *LENGTHS, "--schedule.log_every", "3", "--evaluation.every", "2")
    undisturbed = train_once(*words)
    with dying(monkeypatch, moment, nth):
        train_tiny("died", *words)
    resumed = train_tiny("died", *words, resume=True)
    assert_same_run(resumed.path, undisturbed.path, numbers)
    assert (resumed.result.best, resumed.result.best_step) == (undisturbed.result.best, undisturbed.result.best_step)


SGD = ("--optimizer.kind", "sgd")
OWN = {
    "unimatch_v1": (
        *("--model.encoder", "timm/test_resnet", "--model.decoder", "deeplabv3plus", "--model.features", "8", *SGD),
    ),
    "allspark": ("--allspark.warmup_epochs", "1", "--model.decoder", "segformer", "--model.features", "16", *SGD),
    "semivl": ("--model.trains", "attention", "--semivl.guidance_threshold", "0.3"),
}
"""Settings with all that a method has to remember: the means of batch norm, momentum, a memory, a frozen guide."""
REMEMBERED = {"unimatch_v1": "running_mean", "allspark": "method/maps"}
"""A part of the name of such a tensor."""


@pytest.mark.parametrize("method", METHODS)
def test_r02_every_method_resumes_in_the_middle_of_an_epoch(
    train_tiny: TrainTiny, numbers: Numbers, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    words = (*student_words(method), *OWN.get(method, ()), "--schedule.steps", "8", "--schedule.checkpoint_every", "4")
    undisturbed = train_tiny("undisturbed", *words)
    with dying(monkeypatch, "save_state", 2):
        train_tiny("died", *words)
    torch.rand(3)  # whoever trains now has another history
    resumed = train_tiny("died", *words, resume=True)
    assert "resumed after step 4" in (resumed.path / "train.log").read_text()
    assert_same_run(resumed.path, undisturbed.path, numbers)
    assert any(REMEMBERED.get(method, "optimizer/") in name for name in tensors(resumed.path))


def test_r01_a_finished_run_resumes_to_its_end_at_once(train_tiny: TrainTiny) -> None:
    run = train_tiny("x", "--schedule.steps", "4", "--evaluation.every", "1")
    before = {name: (run.path / name).read_bytes() for name in files(run.path) if name != "train.log"}
    again = train_tiny("x", "--schedule.steps", "4", "--evaluation.every", "1", resume=True)
    after = {name: (run.path / name).read_bytes() for name in files(run.path) if name != "train.log"}
    assert (again.result.best, again.result.best_step, again.result.steps) == (
        run.result.best,
        run.result.best_step,
        run.result.steps,
    )
    assert [name for name in before if before[name] != after[name]] == []
    assert after.keys() == before.keys()


def test_r03_a_run_resumes_with_its_own_settings_only(train_tiny: TrainTiny, tmp_path: Path) -> None:
    run = train_tiny("x")
    before = {name: (run.path / name).read_bytes() for name in files(run.path)}
    with pytest.raises(RunError, match=r"(?s)optimizer\.weight_decay: 0\.01 in the run, 0\.02 now.*remedy"):
        train_tiny("x", "--optimizer.weight_decay", "0.02", resume=True)
    with pytest.raises(RunError, match="no run to resume"):
        train_tiny("y", resume=True)
    assert {name: (run.path / name).read_bytes() for name in files(run.path)} == before
    assert not (tmp_path / "y").exists()
