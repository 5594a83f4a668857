"""R14: unlabeled images that turn out to be damaged while training are passed over and listed; many end the run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg.api import TrainedRun
from semiseg.cli import main
from semiseg.errors import DataError

TrainTiny = Callable[..., TrainedRun]
Numbers = Callable[[Path], dict[tuple[int, str], float]]
SHORT = ("--schedule.steps", "9", "--schedule.checkpoint_every", "3")


@pytest.fixture
def data(tiny_scenes: Path, tmp_path: Path) -> Path:
    """Return the tiny scenes with two of six unlabeled images cut off, which their headers do not tell."""
    root = Path(shutil.copytree(tiny_scenes, tmp_path / "data"))
    for name in unlabeled(root)[2:4]:
        cut(root / name)
    return root


def unlabeled(root: Path) -> list[str]:
    return (root / "unlabeled.txt").read_text().split()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.fixture
def train_on(train_tiny: TrainTiny, data: Path) -> TrainTiny:
    return lambda name, *words, resume=False: train_tiny(name, "--data.root", str(data), *SHORT, *words, resume=resume)


def test_r14_a_few_damaged_images_are_passed_over_and_listed(train_on: TrainTiny, data: Path) -> None:
    run = train_on("x")
    listed = json.loads((run.path / "data/quarantine.json").read_text())
    assert sorted(listed) == unlabeled(data)[2:4]
    assert all("damaged image" in reason for reason in listed.values())
    log = (run.path / "train.log").read_text()
    for number, name in enumerate(unlabeled(data)[2:4], 1):
        assert re.search(rf"passed over from now on, \d of at most 3: {name}: damaged image", log), number
        assert name in (run.path / "report.html").read_text()


def test_r14_a_run_with_damaged_images_is_the_same_for_any_workers_and_when_resumed(
    train_on: TrainTiny, numbers: Numbers
) -> None:
    whole, workers = train_on("whole"), train_on("workers", "--data.workers", "2")
    assert numbers(workers.path) == numbers(whole.path)
    stopped = train_on("stopped")
    for newer in sorted((stopped.path / "checkpoints").glob("step_*"))[-1:]:
        shutil.rmtree(newer)
    assert numbers(train_on("stopped", resume=True).path) == numbers(whole.path)


def test_r14_two_processes_pass_over_the_same_images(
    data: Path, tiny_words: Callable[..., list[str]], train_by_two: Callable[[list[str]], str], tmp_path: Path
) -> None:
    said = train_by_two([str(data), *tiny_words("two", *SHORT)[1:]])
    assert sorted(json.loads((tmp_path / "two/data/quarantine.json").read_text())) == unlabeled(data)[2:4]
    assert said.count("passed over from now on") == 2


def test_r14_many_damaged_images_end_the_run_which_goes_on_when_they_are_replaced(
    train_on: TrainTiny, data: Path, tiny_scenes: Path
) -> None:
    for name in unlabeled(data)[:4]:
        shutil.copy(tiny_scenes / name, data / name)
        cut(data / name)
    with pytest.raises(DataError, match=r"(?s)4 of 6 unlabeled images cannot be read.*at most 3.*--resume") as raised:
        train_on("x")
    assert all(name in str(raised.value) for name in unlabeled(data)[:4])
    with pytest.raises(DataError, match="4 of 6 unlabeled images cannot be read"):
        train_on("x", resume=True)
    shutil.copy(tiny_scenes / unlabeled(data)[0], data / unlabeled(data)[0])
    run = train_on("x", resume=True)
    log = (run.path / "train.log").read_text()
    assert f"1 images that were damaged can be read, and are used from now on: {unlabeled(data)[0]}" in log
    assert sorted(json.loads((run.path / "data/quarantine.json").read_text())) == unlabeled(data)[1:4]


def test_r14_the_limit_may_be_raised_to_resume_and_a_damaged_image_removed(
    train_on: TrainTiny, data: Path, tiny_scenes: Path
) -> None:
    for name in unlabeled(data)[:2]:
        cut(data / name)
    with pytest.raises(DataError, match="4 of 6"):
        train_on("x")
    (data / unlabeled(data)[0]).unlink()
    assert train_on("x", "--data.quarantine", "1", resume=True).result.steps == 9


def test_r14_a_strict_run_bears_none(train_on: TrainTiny) -> None:
    with pytest.raises(DataError, match="damaged image"):
        train_on("x", "--data.quarantine", "0")


def test_r15_an_unlabeled_image_that_rots_is_passed_over(
    tiny_scenes: Path, tmp_path: Path, tiny_words: Callable[..., list[str]]
) -> None:
    root = Path(shutil.copytree(tiny_scenes, tmp_path / "data"))
    assert main(["data", "check", str(root), "--manifest"]) == 0
    name = unlabeled(root)[1]
    shutil.copy(root / unlabeled(root)[2], root / name)  # decodes, and is another picture
    assert main(["train", str(root), *tiny_words("x", *SHORT)[1:]]) == 0
    listed = json.loads((tmp_path / "x/data/quarantine.json").read_text())
    assert list(listed) == [name]
    assert "not what it was when its checksum was written" in listed[name]
