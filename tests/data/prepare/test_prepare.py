from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semiseg.data.prepare import Count, Prepared, prepare
from semiseg.errors import DataError

MasksIn = Callable[[Path], dict[str, NDArray[np.uint8]]]


def stamps(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}


def test_a_broken_run_goes_on_where_it_stopped(ade20k: Path, tmp_path: Path, masks_in: MasksIn) -> None:
    out = tmp_path / "out"
    assert prepare("ade20k", ade20k, out, workers=0).existed == 0
    before, lost = stamps(out), out / "annotations/training/ADE_train_00000002.png"
    content = lost.read_bytes()
    lost.unlink()
    shown: list[tuple[int, int]] = []
    done = prepare("ade20k", ade20k, out, workers=0, show=lambda made, total: shown.append((made, total)))
    assert (done.made, done.existed, shown) == (1, 2, [(2, 3), (3, 3)])
    assert lost.read_bytes() == content
    assert {path: stamp for path, stamp in stamps(out).items() if path != lost}.items() <= before.items()
    again = prepare("ade20k", ade20k, out, workers=0)
    assert (again.made, again.existed, again.counts) == (0, 3, done.counts)


def test_processes_make_the_same_masks(ade20k: Path, tmp_path: Path, masks_in: MasksIn) -> None:
    broken = ade20k / "ADEChallengeData2016/annotations/training/ADE_train_00000002.png"
    broken.write_bytes(broken.read_bytes()[:30])
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"1 raw files .* all other 2 files[\s\S]*ADE_train_00000002.png: "):
            prepare("ade20k", ade20k, tmp_path / f"out{workers}", workers=workers)
    here, there = (masks_in(tmp_path / f"out{workers}/annotations") for workers in (0, 2))
    assert list(here) == list(there) == ["training/ADE_train_00000001.png", "validation/ADE_val_00000001.png"]
    assert all(np.array_equal(here[name], there[name]) for name in here)


def test_only_parts_of_another_size_than_the_published_are_differences() -> None:
    counts = {"train": Count(2_975, 2_975), "val": Count(499, 500), "train_extra": Count(1, 19_998, "images")}
    done = Prepared(made=3_000, existed=474, counts=counts, seconds=61.2)
    assert done.differences == ("val: 499 masks, published 500", "train_extra: 1 images, published 19,998")
    assert done.summary().splitlines() == [
        "3,000 files made, 474 existed, 61 s",
        "not as published: val: 499 masks, published 500",
        "not as published: train_extra: 1 images, published 19,998",
    ]
    facts = json.loads(json.dumps(done.facts()))
    assert facts["counts"]["val"] == {"found": 499, "published": 500, "of": "masks"}
    assert facts["differences"] == list(done.differences)


def test_a_whole_release_is_said_to_be_as_published() -> None:
    done = Prepared(made=0, existed=500, counts={"val": Count(500, 500)}, seconds=0.0)
    assert done.summary().endswith("all parts are as large as published")


@pytest.mark.parametrize("name", ["pascal", "cityscapes", "ade20k", "coco", "levir", "whu"])
def test_an_empty_folder_is_told_what_it_should_hold(tmp_path: Path, name: str) -> None:
    folders = {
        "pascal": "VOCdevkit/VOC2012",
        "cityscapes": "gtFine",
        "ade20k": "ADEChallengeData2016",
        "coco": "annotations/instances_",
        "levir": r"\{train,val,test\}/\{A,B,label\}",
        "whu": r"1\. The two-period image data/",
    }
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match=rf"found[\s\S]*expected: .*{folders[name]}"):
        prepare(name, tmp_path / "raw", tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


def test_wrong_words_are_refused(ade20k: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'ade20k'"):
        prepare("ade", ade20k, tmp_path / "out")
    with pytest.raises(DataError, match="no such folder"):
        prepare("ade20k", tmp_path / "missing", tmp_path / "out")
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match="the output is a file"):
        prepare("ade20k", ade20k, tmp_path / "out")


def test_many_damaged_files_are_counted_not_all_named(ade20k: Path, tmp_path: Path) -> None:
    folder = ade20k / "ADEChallengeData2016/annotations/training"
    for number in range(10, 25):
        (folder / f"ADE_train_{number:08}.png").touch()
    with pytest.raises(DataError, match=r"15 raw files[\s\S]*and 5 more") as caught:
        prepare("ade20k", ade20k, tmp_path / "out", workers=0)
    assert str(caught.value).count(".png: unreadable") == 10


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_alone(
    ade20k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    prepare("ade20k", ade20k, tmp_path / "out", workers=0)
    assert ("3/3" in screen.getvalue()) == terminal
    assert terminal or not screen.getvalue()
