"""R11: several processes learn what one process learns from the same global batch.

In float64 (tests/support/float64.py says why). In float32, on an AMD EPYC, SemiVL's two processes had another class
than one at one pixel of 3,789 in step 12, where two logits were 3e-7 apart; on an Intel Xeon the losses stayed equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from float64 import PROGRAM, in_float64  # tests/support
from safetensors.torch import load_file
from students import COUPLED, student_words

from semiseg.api import TrainedRun, recipe_config
from semiseg.augment import StrongViewConfig
from semiseg.data import Division, TrainStream, load_dataset
from semiseg.methods import METHODS

TrainTiny = Callable[..., TrainedRun]
Numbers = Callable[[Path], dict[tuple[int, str], float]]

__all__ = ["in_float64"]  # a fixture
pytestmark = pytest.mark.usefixtures("in_float64")

# Images of 64 pixels shrink to less than the crop of 32, so that each process has another share of padding.
WORDS = ("--schedule.steps", "20", "--data.scale", "[0.2, 0.9]")
FOUR = ("--schedule.batch", "4")
EIGHT_IN_PARTS = ("--schedule.batch", "8", "--schedule.per_device", "2")


@pytest.fixture
def train_twofold(
    tiny_words: Callable[..., list[str]], launch_two: Callable[..., str], tmp_path: Path
) -> Callable[..., tuple[Path, str]]:
    """Return `train(name, *overrides)`: a tiny training by two processes; the run and what was printed."""

    def run(name: str, *overrides: str) -> tuple[Path, str]:
        return tmp_path / name, launch_two([PROGRAM, "train"], tiny_words(name, *overrides))

    return run


def test_r11_processes_have_unequal_shares_of_padding(tiny_words: Callable[..., list[str]]) -> None:
    folder, *words = tiny_words("x", *FOUR, *WORDS)
    config = recipe_config(folder, words)
    division = Division(labeled=4, unlabeled=4, processes=2)
    first, second = (
        TrainStream(
            load_dataset(config.data),
            config.data,
            replace(division, rank=rank),
            strong=StrongViewConfig(),
            views=1,
            seed=0,
            steps=5,
        )
        for rank in range(2)
    )
    shares = [(first[step].pixels.weak.item(), second[step].pixels.weak.item()) for step in range(5)]
    assert sum(mine != other for mine, other in shares) >= 2, shares


OWN = {"semivl": ("--model.trains", "attention", "--semivl.guidance_threshold", "0.2")}
"""Of semivl attention alone trains, so that a part of the encoder has no gradients; and its guide, which has random
weights, is sure enough of some pixels."""

IN_PARTS = {"unimatch_v1", "fixmatch"}
"""Methods that are divided into processes and passes at once."""


def moments(run: Path) -> torch.Tensor:
    """Return the optimizer's mean gradients: AdamW's steps, and so the losses, hide a wrong scale of the gradients."""
    tensors = load_file(sorted((run / "checkpoints").glob("step_*"))[-1] / "tensors.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors) if name.endswith("/exp_avg")])


def test_r11_the_gradients_of_a_step_are_those_of_one_process(
    train_tiny: TrainTiny, train_twofold: Callable[..., tuple[Path, str]]
) -> None:
    words = (*WORDS, "--schedule.steps", "1")
    alone = train_tiny("alone", *words, *EIGHT_IN_PARTS[:2])
    together, _ = train_twofold("together", *words, *EIGHT_IN_PARTS)
    mine, theirs = moments(together), moments(alone.path)
    assert (mine - theirs).norm() < 1e-9 * theirs.norm()


# AllSpark's losses depend on which images are together, and its dropout on the process: what its processes share, and
# that two of them train, is in tests/methods/test_allspark.py. Two CPU processes refuse students with batch norm.
@pytest.mark.parametrize("method", [method for method in METHODS if method not in COUPLED])
def test_r11_two_processes_have_the_losses_of_one(
    train_tiny: TrainTiny, train_twofold: Callable[..., tuple[Path, str]], numbers: Numbers, method: str
) -> None:
    words = (*student_words(method), *OWN.get(method, ()), *WORDS)
    batch = EIGHT_IN_PARTS if method in IN_PARTS else FOUR
    alone = train_tiny("alone", *words, *batch[:2])
    together, said = train_twofold("together", *words, *batch)
    expected, found = numbers(alone.path), numbers(together)
    assert found.keys() == expected.keys()
    losses = [key for key in expected if key[1] in ("train/loss", "train/loss_x", "train/loss_s", "train/lr")]
    assert len(losses) >= 60
    assert [(key, found[key], expected[key]) for key in losses if abs(found[key] - expected[key]) > 1e-9] == []
    mine, theirs = moments(together), moments(alone.path)
    assert (mine - theirs).norm() < 1e-9 * theirs.norm()
    if method != "supervised":
        assert max(expected[step, "train/loss_s"] for step in range(1, 21)) > 0.1, "no label was confident"

    names = [
        sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if "tfevents" not in path.name)
        for run in (alone.path, together)
    ]
    assert names[0] == names[1]
    assert len(list((together / "tensorboard").iterdir())) == 1, "the main process alone writes"
    assert said.count("step 20/20  mIoU") == 1, "the main process alone speaks"
    passes = 2 if method in IN_PARTS else 1
    assert f"batch {4 * passes} = 2 processes x {passes} passes x 2" in said
