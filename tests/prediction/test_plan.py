from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from semiseg.errors import DataError, ModelError
from semiseg.prediction.plan import plan, sources


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    return root


def test_one_frame_comes_from_one_source_whatever_folders_are_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "A/a.png", "B/a.png")
    assert sources(tmp_path, None, 1) == (tmp_path,)
    with pytest.raises(ModelError, match="1 frame a sample, two sources are given"):
        sources(tmp_path / "A", tmp_path / "B", 1)


def test_two_frames_come_from_two_sources_or_from_a_and_b(tmp_path: Path) -> None:
    touch(tmp_path, "A/a.png")
    assert sources(tmp_path / "x", tmp_path / "y", 2) == (tmp_path / "x", tmp_path / "y")
    with pytest.raises(
        ModelError, match=r"(?s)2 frames a sample, one source is given.*a folder with A and B.*--second"
    ):
        sources(tmp_path, None, 2)
    touch(tmp_path, "B/a.png")
    assert sources(tmp_path, None, 2) == (tmp_path / "A", tmp_path / "B")


def test_pairs_are_made_by_relative_name_and_the_rest_is_named(tmp_path: Path) -> None:
    first = touch(tmp_path / "A", "a.png", "deep/b.png", "old.png", "c.jpg")
    second = touch(tmp_path / "B", "a.png", "deep/b.png", "deep/new.png", "c.png")
    jobs, alone = plan((first, second), tmp_path / "out", overlays=True)
    assert [job.images for job in jobs] == [
        (first / "a.png", second / "a.png"),
        (first / "deep/b.png", second / "deep/b.png"),
    ]
    assert [job.mask for job in jobs] == [tmp_path / "out/a.png", tmp_path / "out/deep/b.png"]
    assert jobs[1].overlay == tmp_path / "out/deep/b_overlay.jpg"
    assert alone == (first / "c.jpg", first / "old.png", second / "c.png", second / "deep/new.png")


def test_two_files_are_a_pair_whatever_they_are_called(tmp_path: Path) -> None:
    touch(tmp_path, "2019.png", "2024.jpg")
    jobs, alone = plan((tmp_path / "2019.png", tmp_path / "2024.jpg"), tmp_path / "out", overlays=False)
    assert [(job.images, job.mask) for job in jobs] == [
        ((tmp_path / "2019.png", tmp_path / "2024.jpg"), tmp_path / "out/2019.png")
    ]
    assert alone == ()


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("missing", "no such image or folder"),
        ("B/other.png", "no folder, as the other frame is one"),
        ("B", "no image has a partner of the same name"),
        ("empty", "no image found"),
    ],
)
def test_folders_that_give_no_pair_are_an_error(tmp_path: Path, second: str, message: str) -> None:
    touch(tmp_path, "A/a.png", "B/other.png")
    (tmp_path / "empty").mkdir()
    for order in (1, -1):
        with pytest.raises(DataError, match=message):
            plan((tmp_path / "A", tmp_path / second)[::order], tmp_path / "out", overlays=False)


@pytest.mark.parametrize("out", ["A", "B"])
def test_the_output_is_the_folder_of_no_frame(tmp_path: Path, out: str) -> None:
    touch(tmp_path, "A/a.png", "B/a.png")
    for frames in [(tmp_path / "A", tmp_path / "B"), (tmp_path / "A/a.png", tmp_path / "B/a.png")]:
        with pytest.raises(DataError, match="share a folder"):
            plan(frames, tmp_path / out, overlays=False)


def test_a_mask_replaces_no_image_of_a_pair_and_none_without_a_partner(tmp_path: Path) -> None:
    touch(tmp_path, "A/x/a.png", "B/x/x/a.png", "B/x/a.png")
    for partner in ((), ("A/a.png",)):
        touch(tmp_path, *partner)
        with pytest.raises(DataError, match="would replace an image"):
            plan((tmp_path / "A", tmp_path / "B/x"), tmp_path / "B", overlays=False)
