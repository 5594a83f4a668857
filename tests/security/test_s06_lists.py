"""S6: a list reaches no file outside of the data folder, however it is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg.cli import main
from semiseg.data import DataConfig, load_dataset
from semiseg.data.splitting import split_dataset
from semiseg.errors import DataError

Words = Callable[..., list[str]]


@pytest.fixture
def data(tiny_scenes: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny scenes, beside a private picture."""
    shutil.copy(next(tiny_scenes.glob("images/*.png")), tmp_path / "private.png")
    (tmp_path / "far").mkdir()
    shutil.copy(tmp_path / "private.png", tmp_path / "far/private.png")
    return Path(shutil.copytree(tiny_scenes, tmp_path / "data"))


def load(data: Path) -> None:
    load_dataset(DataConfig(root=str(data)))


WAYS_OUT = [
    "../private.png",
    "images/../../private.png",
    "images/..\\..\\private.png",
    "//etc/hostname",
    "./../private.png",
]


@pytest.mark.parametrize("part", ["labeled", "unlabeled", "val"])
@pytest.mark.parametrize("name", [*WAYS_OUT, "{outside}/private.png"])
def test_s06_a_path_that_leaves_is_refused_in_every_list(data: Path, tmp_path: Path, part: str, name: str) -> None:
    name = name.format(outside=tmp_path)
    (data / f"{part}.txt").write_text(f"{name} {name}\n")
    if "\\" in name:  # one strange name on this system, not a way out
        load(data)
        return
    with pytest.raises(DataError, match=rf"(?s)leaves the data folder.*{part}\.txt, line 1"):
        load(data)


@pytest.mark.parametrize("part", ["labeled", "unlabeled", "val"])
@pytest.mark.parametrize("link", ["file", "folder"])
def test_s06_a_link_that_leaves_is_refused(data: Path, tmp_path: Path, part: str, link: str) -> None:
    (data / "backup").symlink_to(tmp_path / "far")
    (data / "link.png").symlink_to(tmp_path / "private.png")
    name = "link.png" if link == "file" else "backup/private.png"
    (data / f"{part}.txt").write_text(f"{name} masks/scene_000000.png\n")
    with pytest.raises(DataError, match=rf"(?s){name}' leaves the data folder by a link.*{part}\.txt.*remedy"):
        load(data)


def test_s06_a_mask_by_a_link_is_refused_too(data: Path, tmp_path: Path) -> None:
    (data / "backup").symlink_to(tmp_path / "far")
    (data / "labeled.txt").write_text("images/scene_000000.png backup/private.png\n")
    with pytest.raises(DataError, match=r"'backup/private\.png' leaves"):
        load(data)


def test_s06_links_inside_and_files_in_other_folders_of_the_data_are_fine(data: Path) -> None:
    (data / "photos").mkdir()
    (data / "photos/a.png").symlink_to("../images/scene_000001.png")
    (data / "again").symlink_to("images")
    (data / "unlabeled.txt").write_text("photos/a.png\nagain/scene_000002.png\n")
    assert len(load_dataset(DataConfig(root=str(data))).unlabeled) == 2


def test_s06_the_folders_of_images_may_be_links_and_hold_links_as_in_a_search(data: Path, tmp_path: Path) -> None:
    (data / "images").rename(tmp_path / "photographs")
    (data / "images").symlink_to(tmp_path / "photographs")
    (tmp_path / "photographs/far.png").symlink_to(tmp_path / "far/private.png")
    (data / "unlabeled.txt").write_text("images/far.png\nimages/scene_000004.png\n")
    load(data)
    text = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(text.split("lists:")[0])
    split_dataset(data, 2, seed=0, name="two")
    assert len(load_dataset(DataConfig(root=str(data), split="two")).labeled) == 2


def test_s06_a_data_folder_may_be_a_link_itself(data: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(data)
    (data / "more").mkdir()
    shutil.copy(data / "images/scene_000001.png", data / "more/a.png")
    (data / "unlabeled.txt").write_text("more/a.png\n")
    load(tmp_path / "linked")


@pytest.mark.parametrize(
    "content", [b"images/a\0b.png\n", b"\0\n", b"images/scene_000004.png\n" + b"../" * 50_000 + b"x\n"]
)
def test_s06_strange_bytes_end_in_a_message(data: Path, content: bytes, tiny_words: Words, tmp_path: Path) -> None:
    (data / "unlabeled.txt").write_bytes(content)
    assert main(["train", str(data), *tiny_words("x")[1:]]) == 2
    assert not (tmp_path / "x").exists()
