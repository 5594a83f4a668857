"""A run keeps which images were what: whatever happens to the folder, its figures are about the same images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from semiseg.api import TrainedRun, evaluate
from semiseg.cli import main
from semiseg.data import DataConfig
from semiseg.errors import DataError

TrainTiny = Callable[..., TrainedRun]
PARTS = ("labeled", "unlabeled", "val")
SHORT = ("--schedule.steps", "2", "--data.held_out", "0.3")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where data and run are, in one place for all tests: a run knows where its data was."""
    return tmp_path_factory.mktemp("lists")


@pytest.fixture(scope="module")
def trained() -> dict[str, TrainedRun]:
    """Return where the run is kept that was trained once."""
    return {}


@pytest.fixture
def data(tiny_scenes: Path, home: Path) -> Path:
    """Return a folder without lists: 4 images with a mask, of which 1 is held out, and 8 without."""
    for part in ("data", "x"):
        shutil.rmtree(home / part, ignore_errors=True)  # as the test before has left it
    root = Path(shutil.copytree(tiny_scenes, home / "data"))
    content = yaml.safe_load((root / "dataset.yaml").read_text())
    (root / "dataset.yaml").write_text(yaml.safe_dump({**content, "lists": None}))
    for mask in sorted(root.glob("masks/*.png"))[4:]:
        mask.unlink()
    return root


@pytest.fixture
def train_on(train_tiny: TrainTiny, data: Path, home: Path) -> TrainTiny:
    """Return `train_on(*overrides, resume=False)`: a tiny training on that folder; always the run `x`."""
    place = ("--run.folder", str(home), "--data.root", str(data))
    return lambda *words, resume=False: train_tiny("x", *place, *SHORT, *words, resume=resume)


@pytest.fixture
def run(train_on: TrainTiny, trained: dict[str, TrainedRun], home: Path) -> TrainedRun:
    """Return the run `x` as its training on that folder has left it; it is trained once, and copied."""
    if "x" not in trained:
        trained["x"] = train_on()
        shutil.copytree(home / "x", home / "kept")
    else:
        shutil.copytree(home / "kept", home / "x")
    return trained["x"]


def lines(run: TrainedRun, part: str) -> list[str]:
    return (run.path / "data" / f"{part}.txt").read_text().splitlines()


def names(run: TrainedRun, *parts: str) -> list[str]:
    return sorted(word for part in parts for line in lines(run, part) for word in line.split())


def draw_more_masks(data: Path) -> None:
    """Draw masks for all images, as a user does who goes on labeling."""
    for image in data.glob("images/*.png"):
        if not (data / "masks" / image.name).exists():
            Image.new("L", (64, 64), 1).save(data / "masks" / image.name)


# What is kept


def test_a_run_keeps_its_lists_in_the_form_of_any_list(train_on: TrainTiny, data: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    shutil.copy(next(data.glob("images/*.png")), tmp_path / "more/far away.png")
    run = train_on("--data.unlabeled", str(tmp_path / "more"))
    assert [len(lines(run, part)) for part in PARTS] == [3, 9, 1]
    image, mask = lines(run, "val")[0].split()
    assert (image.split("/"), mask) == (["images", Path(mask).name], f"masks/{Path(image).name}")
    assert lines(run, "unlabeled")[-1] == f"{tmp_path}/more/far away.png\tNone"
    source = json.loads((run.path / "data/source.json").read_text())
    assert source["root"] == str(data)
    assert "1 of 4 images with a mask are held out" in source["val"]


def test_files_to_learn_and_judge_from_are_hashed_and_unlabeled_ones_measured(run: TrainedRun) -> None:
    kept = [line.split("\t") for line in (run.path / "data/files.tsv").read_text().splitlines()]
    assert sorted(name for *_, name in kept) == [name for name in names(run, *PARTS) if name != "None"]
    assert sorted(name for sha256, *_, name in kept if sha256 != "-") == names(run, "labeled", "val")
    assert all(int(size) > 0 and int(changed_ns) > 0 for _, size, changed_ns, _ in kept)


def test_labeled_only_training_keeps_no_unlabeled_images(train_on: TrainTiny) -> None:
    run = train_on("--method", "supervised")
    assert [len(lines(run, part)) for part in PARTS] == [3, 0, 1]
    assert train_on("--method", "supervised", resume=True).result.best == run.result.best


# Resuming


def test_more_masks_and_images_change_nothing_for_a_run_that_is_resumed(
    train_on: TrainTiny, run: TrainedRun, data: Path
) -> None:
    before = {part: lines(run, part) for part in PARTS}
    shutil.rmtree(run.path / "checkpoints")
    draw_more_masks(data)
    shutil.copy(next(data.glob("images/*.png")), data / "images/new.png")
    resumed = train_on(resume=True)
    assert {part: lines(resumed, part) for part in PARTS} == before
    assert resumed.result.best == run.result.best
    log = (run.path / "train.log").read_text()
    assert log.count("3 labeled, 8 unlabeled, 1 val") == 2
    assert "1 images are new since the run began, and not used by it: images/new.png" in log


def spoil_image(path: Path) -> None:
    Image.open(path).rotate(90).save(path, compress_level=0)


def spoil_mask(path: Path) -> None:
    Image.new("L", (64, 64), 2).save(path)


@pytest.mark.parametrize("part", ["labeled", "val"])
@pytest.mark.parametrize(("field", "spoil"), [(0, spoil_image), (1, spoil_mask)], ids=["image", "mask"])
def test_a_run_does_not_continue_with_other_files(
    train_on: TrainTiny, run: TrainedRun, data: Path, part: str, field: int, spoil: Callable[[Path], None]
) -> None:
    name = lines(run, part)[0].split()[field]
    spoil(data / name)
    with pytest.raises(DataError, match=rf"(?s)1 files are not what they were.*{name}.*remedy:.*restore.*--run\.name"):
        train_on(resume=True)


def test_an_unlabeled_image_of_another_size_stops_a_resumed_run_and_one_of_another_date_does_not(
    train_on: TrainTiny, run: TrainedRun, data: Path
) -> None:
    name = lines(run, "unlabeled")[0].split()[0]
    (data / name).touch()
    train_on(resume=True)
    spoil_image(data / name)
    with pytest.raises(DataError, match=rf"(?s)1 files are not what they were.*{name}"):
        train_on(resume=True)


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_stops_a_resumed_run(train_on: TrainTiny, run: TrainedRun, data: Path, part: str) -> None:
    (data / lines(run, part)[0].split()[0]).unlink()
    with pytest.raises(DataError, match=rf"(?s)not found.*{lines(run, part)[0].split()[0]}"):
        train_on(resume=True)


def test_masks_that_mean_something_else_stop_a_resumed_run(train_on: TrainTiny, run: TrainedRun, data: Path) -> None:
    text = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(text.replace("ignore_value: 255", "ignore_value: 254"))
    with pytest.raises(DataError, match=r"(?s)described in another way.*ignore_value: 255 in the run, 254 now"):
        train_on(resume=True)


def test_a_data_folder_may_move(train_on: TrainTiny, run: TrainedRun, data: Path, tmp_path: Path) -> None:
    moved = data.rename(tmp_path / "moved")
    assert train_on("--data.root", str(moved), resume=True).result.best == run.result.best


@pytest.mark.parametrize("damage", ["val.txt", "files.tsv", "source.json"])
def test_damaged_lists_of_a_run_are_named(train_on: TrainTiny, run: TrainedRun, damage: str) -> None:
    (run.path / "data" / damage).write_bytes(b"\xff[1]")
    with pytest.raises(DataError, match=rf"(?s){damage}|what the run kept of its data is damaged.*x/data"):
        train_on(resume=True)


def test_a_run_without_lists_says_that_it_draws_anew(train_on: TrainTiny, run: TrainedRun) -> None:
    shutil.rmtree(run.path / "data")
    train_on(resume=True)
    assert "kept no lists" in (run.path / "train.log").read_text()
    assert len(lines(run, "val")) == 1


# Evaluating


def answer(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> tuple[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["evaluate", *words, "--device", "cpu", "--json", str(tmp_path / "answer.json")]) == 0
    return capsys.readouterr().out, json.loads((tmp_path / "answer.json").read_text())


def test_a_run_is_judged_by_its_own_val_images_though_the_folder_has_changed(
    run: TrainedRun, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_more_masks(data)
    text, facts = answer(capsys, tmp_path, str(run.path))
    assert facts["miou"] == run.result.best
    assert (facts["images"], facts["trained_on"], facts["notes"]) == (1, [], [])
    assert str(run.path / "data/val.txt") in facts["list"]
    assert f"1 images: {facts['list']}" in text
    spoil_mask(data / lines(run, "val")[0].split()[1])
    text, facts = answer(capsys, tmp_path, str(run.path))
    assert "1 of 2 files are not what they were when the run began: masks/" in text
    assert facts["notes"] != []


def test_another_folder_is_scored_whole(
    run: TrainedRun, tiny_scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(tiny_scenes, tmp_path / "other"))
    (other / "dataset.yaml").write_text((other / "dataset.yaml").read_text().split("lists:")[0])
    for image in other.glob("images/*.png"):
        Image.open(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(image)
    text, facts = answer(capsys, tmp_path, str(run.path), "--data.root", str(other))
    assert (facts["images"], facts["trained_on"]) == (6, [])
    assert f"6 images: every image with a mask in {other}" in text


def test_images_that_were_trained_on_are_said_to_be(run: TrainedRun, data: Path, tmp_path: Path) -> None:
    draw_more_masks(data)
    other = tmp_path / "other"
    for folder in ("images", "masks"):
        (other / folder).mkdir(parents=True)
    shutil.copy(data / "dataset.yaml", other)
    labeled, unlabeled = (Path(lines(run, part)[0].split()[0]).name for part in ("labeled", "unlabeled"))
    for name, there in ((labeled, "copy.png"), (unlabeled, "link.png")):
        shutil.copy(data / "masks" / name, other / "masks" / there)
    shutil.copy(data / "images" / labeled, other / "images/copy.png")
    (other / "images/link.png").symlink_to(data / "images" / unlabeled)
    found = evaluate(run.path, DataConfig(root=str(other)), device="cpu")
    assert (found.images, found.trained_on) == (2, ("images/copy.png", "images/link.png"))


def test_the_data_of_a_run_is_known_where_it_was_moved_to(run: TrainedRun, data: Path, tmp_path: Path) -> None:
    draw_more_masks(data)
    moved = data.rename(tmp_path / "moved")
    found = evaluate(run.path, DataConfig(root=str(moved)), device="cpu")
    assert (found.images, found.trained_on) == (1, ())
    assert "the run's own list" in found.origin
    assert found.miou == run.result.best


def test_a_run_without_lists_is_judged_as_drawn_anew_and_says_so(run: TrainedRun) -> None:
    shutil.rmtree(run.path / "data")
    found = evaluate(run.path, device="cpu")
    assert (found.images, found.miou) == (1, run.result.best)
    assert any("kept no list" in note for note in found.notes)
