from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from semiseg import files
from semiseg.errors import FileError
from semiseg.files import remove_drafts, whole_file, whole_folder, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(path: Path, error: BaseException) -> None:
    with whole_file(path) as draft:
        draft.write_text("ha")
        raise error


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as draft:
        draft.write_text("half")
        assert not path.exists()
        assert draft.parent == path.parent, "a move within one file system is one step"
    assert path.read_text() == "half"
    assert names(path.parent) == ["a.txt"]


def test_a_file_is_replaced_in_one_step_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt())
    assert path.read_text() == "old"
    write_text(path, "new\nline ä\n")
    assert path.read_bytes() == "new\nline ä\n".encode()
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scenes"
    with whole_folder(path) as draft:
        (draft / "images").mkdir()
        (draft / "images" / "a").write_text("a")
        assert not path.exists()
    assert (path / "images" / "a").read_text() == "a"
    assert names(path.parent) == ["scenes"]


def test_a_folder_that_holds_something_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(FileError, match="photos"), whole_folder(tmp_path / "photos") as draft:
        (draft / "b").touch()
    assert names(tmp_path) == ["photos"]
    assert names(tmp_path / "photos") == ["a.jpg"]


def test_content_is_on_the_disk_before_its_name_and_the_name_before_we_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def watched_sync(handle: int) -> None:
        done.append("sync " + Path(os.readlink(f"/proc/self/fd/{handle}")).name.split("-")[0])
        sync(handle)

    def watched_replace(draft: Path, path: Path) -> None:
        done.append("replace")
        replace(draft, path)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_text(tmp_path / "a.txt", "x")
    assert done == ["sync .draft", "replace", f"sync {tmp_path.name.split('-')[0]}"]
    done.clear()
    with whole_folder(tmp_path / "scenes") as draft:
        (draft / "a").touch()
    assert done == ["sync a", "sync .draft", "replace", f"sync {tmp_path.name.split('-')[0]}"]


def test_others_may_read_what_a_library_made_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "a.safetensors") as draft:
            save_file({"a": torch.zeros(1)}, draft)
        with whole_folder(tmp_path / "folder") as draft:
            save_file({"a": torch.zeros(1)}, draft / "a.safetensors")
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "a.safetensors", tmp_path / "folder/a.safetensors")]
    assert modes == [0o640, 0o640]
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    write_text(tmp_path / ("a" * 251 + ".txt"), "x")


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a") as first, whole_file(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first", "whoever is done last"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("place", ["file/a.txt", "file/deeper/a.txt", "folder"])
def test_a_place_where_no_file_can_be_is_an_error_with_a_remedy(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match=r"(?s)cannot write .*where: .*remedy: .*name another"):
        write_text(tmp_path / place, "x")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"


def test_an_error_that_is_not_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_half(tmp_path / "a", ZeroDivisionError())
    assert names(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from semiseg.files import whole_file, whole_folder

with whole_folder(Path(sys.argv[1]) / "b") as folder, whole_file(Path(sys.argv[1]) / "a") as file:
    file.write_text("half")
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_is_hidden_and_can_be_removed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert all(name.startswith(".") and name.endswith(".part") for name in names(tmp_path))
    write_text(tmp_path / "a", "mine")
    remove_drafts(tmp_path)
    assert names(tmp_path) == ["a"]


def test_a_network_disk_that_flushes_no_folders_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def refusing(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(22, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(files.os, "fsync", refusing)
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"
