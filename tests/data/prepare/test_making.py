from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.prepare.making import Job, Plan, file_name, link_images, make_files
from semiseg.errors import DataError, FileError

Mask = NDArray[np.uint8]


def plan_of(paint: Callable[[], Mask], out: Path, count: int = 1) -> Plan:
    jobs = tuple(Job.of_mask("train", Path(f"raw{number}"), out / f"{number}.png", paint) for number in range(count))
    return Plan(classes=2, expected="a release", jobs=jobs, links={}, published={"train": count})


def ones() -> Mask:
    return np.ones((2, 3), dtype=np.uint8)


def die(parent: int) -> Mask:
    assert os.getpid() != parent
    os._exit(1)


def quiet(done: int, total: int) -> None:
    pass


def links(raw: Path, out: Path) -> Plan:
    return Plan(classes=2, expected="images/*.jpg", jobs=(), links={out / "images": raw / "images"}, published={})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a raw folder with two images."""
    for name in ("a.jpg", "deep/b.jpg"):
        path = tmp_path / "raw/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "raw"


def test_a_killed_write_leaves_no_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(image: Image.Image, path: Path, **options: object) -> None:
        path.write_bytes(b"\x89PNG half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        make_files(plan_of(ones, tmp_path), workers=0, progress=quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_stops_the_run_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: Image.Image, path: Path, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(FileError, match=r"No space left[\s\S]*0\.png[\s\S]*run the same again"):
        make_files(plan_of(ones, tmp_path), workers=0, progress=quiet)


def test_a_killed_process_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a process was killed[\s\S]*fewer workers"):
        make_files(plan_of(partial(die, os.getpid()), tmp_path), workers=1, progress=quiet)


def test_image_folders_are_linked_by_a_relative_path(images: Path, tmp_path: Path) -> None:
    for _ in range(2):
        link_images(links(images, tmp_path / "out/here"))
    link = tmp_path / "out/here/images"
    assert os.readlink(link) == "../../raw/images"
    assert (link / "deep/b.jpg").read_text() == "deep/b.jpg"


@pytest.mark.parametrize("hard_links", [True, False])
def test_without_symbolic_links_files_are_linked_or_copied(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    if not hard_links:
        monkeypatch.setattr(os, "link", refuse)
    link_images(links(images, tmp_path / "out"))
    placed = tmp_path / "out/images"
    assert sorted(path.relative_to(placed).as_posix() for path in placed.rglob("*.*")) == ["a.jpg", "deep/b.jpg"]
    assert (placed / "a.jpg").samefile(images / "images/a.jpg") == hard_links
    (placed / "a.jpg").unlink()
    (placed / "deep/b.jpg").unlink()
    (placed / "deep/b.jpg").write_text("changed")
    link_images(links(images, tmp_path / "out"))
    assert (placed / "a.jpg").read_text() == "a.jpg"
    assert (placed / "deep/b.jpg").read_text() == "changed"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_that_leads_elsewhere_is_left_alone(images: Path, tmp_path: Path, exists: bool) -> None:
    other = tmp_path / "other"
    if exists:
        other.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/images").symlink_to(other)
    with pytest.raises(DataError, match="is a link to"):
        link_images(links(images, tmp_path / "out"))
    assert os.readlink(tmp_path / "out/images") == str(other)


@pytest.mark.parametrize("name", ["../a", "a/b", "/a", ".a", "..", "", "a\\b"])
def test_only_plain_file_names_are_joined(name: str) -> None:
    with pytest.raises(DataError, match="is not the name of a file"):
        file_name(name, Path("list.txt"))
    assert file_name("a b.jpg", Path("list.txt")) == "a b.jpg"
