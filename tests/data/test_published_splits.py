from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from semiseg.data import published_splits as module
from semiseg.data.published_splits import PublishedLists, published_files
from semiseg.errors import DataError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder on this machine as the publisher, with an empty cache, and return the folder."""
    folder = tmp_path / "server"
    folder.mkdir()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(module, "PUBLISHER", f"http://127.0.0.1:{http.server_port}")
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield folder
    http.shutdown()
    http.server_close()
    thread.join()


CONTENT = {
    "splits/pascal/92/labeled.txt": b"JPEGImages/1.jpg SegmentationClass/1.png\n",
    "splits/pascal/92/unlabeled.txt": b"JPEGImages/2.jpg SegmentationClass/2.png\n",
    "splits/pascal/val.txt": b"JPEGImages/3.jpg SegmentationClass/3.png\n",
    "remote-sensing/splits/levir/5%/labeled.txt": b"train_1.png\n",
}


@pytest.fixture
def publish(server: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the server have `CONTENT` and the manifest pin it; return the folder of the commit."""
    pins = {path: {"sha256": hashlib.sha256(text).hexdigest(), "size": len(text)} for path, text in CONTENT.items()}
    monkeypatch.setattr(module, "_manifest", lambda: {"repository": "owner/name", "commit": "abc", "files": pins})
    root = server / "owner/name/abc"
    for path, text in CONTENT.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text)
    return root


def test_every_list_is_pinned_by_commit_hash_and_size() -> None:
    files = published_files()
    assert len(files) == 67
    file = files["levir/5%/labeled.txt"]
    assert file.url == (
        "https://raw.githubusercontent.com/LiheYoung/UniMatch-V2/f6afb4dfca2d9dcbcee2307e97717954ca75c0ba"
        "/remote-sensing/splits/levir/5%25/labeled.txt"
    )
    assert {len(file.sha256) for file in files.values()} == {64}
    assert min(file.size for file in files.values()) > 1000


def test_the_pins_are_those_of_the_published_files(published_splits: Path) -> None:
    found = {path.relative_to(published_splits).as_posix(): path for path in published_splits.rglob("*.txt")}
    files = published_files()
    assert set(found) == set(files)
    for name, path in found.items():
        content = path.read_bytes()
        assert (files[name].sha256, files[name].size) == (hashlib.sha256(content).hexdigest(), len(content))


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("pascal", ["1464", "183", "366", "732", "92", "all"]),
        ("cityscapes", ["1_16", "1_2", "1_30", "1_4", "1_8", "all"]),
        ("ade20k", ["1_16", "1_2", "1_32", "1_4", "1_64", "1_8", "all"]),
        ("coco", ["1_128", "1_256", "1_32", "1_512", "1_64"]),
        ("levir", ["10", "20", "40", "5", "all"]),
        ("whu", ["10", "20", "40", "5", "all"]),
        ("camvid", []),
        (None, []),
    ],
)
def test_splits_are_known_without_a_download(dataset: str | None, names: list[str]) -> None:
    assert PublishedLists(dataset=dataset).names() == names


def test_lists_are_downloaded_when_they_are_wanted_and_kept(publish: Path) -> None:
    lists = PublishedLists(dataset="pascal")
    found, val = lists.split("92"), lists.val()
    assert found
    assert [path.read_bytes() for path in (*found, val) if path] == list(CONTENT.values())[:3]
    for path in CONTENT:
        (publish / path).unlink()
    assert (lists.split("92"), lists.val()) == (found, val)
    levir = PublishedLists(dataset="levir")
    for name in ("5", "5%"):
        with pytest.raises(DataError, match="404"):
            levir.split(name)


def test_what_is_not_published_is_not_asked_for(publish: Path) -> None:
    for path in CONTENT:
        (publish / path).unlink()
    assert PublishedLists(dataset="pascal").split("93") is None
    assert PublishedLists(dataset="camvid").split("92") is None
    assert PublishedLists(dataset=None).val() is None
    assert PublishedLists(dataset="levir").val() is None


@pytest.mark.parametrize(
    ("content", "says"),
    [(CONTENT["splits/pascal/val.txt"][:-1], "broke off"), (b"x" * 1000, "larger"), (None, "HTTP status 404")],
)
def test_a_list_that_cannot_be_had_says_what_to_do(
    publish: Path, tmp_path: Path, content: bytes | None, says: str
) -> None:
    (publish / "splits/pascal/val.txt").unlink()
    if content:
        (publish / "splits/pascal/val.txt").write_bytes(content)
    with pytest.raises(DataError) as raised:
        PublishedLists(dataset="pascal").val()
    assert says in str(raised.value)
    assert "by hand, or pass --data.splits FOLDER with the published lists" in str(raised.value)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_folder_of_lists_is_used_as_it_is(tmp_path: Path, publish: Path) -> None:
    folder = tmp_path / "mine"
    for name in ("pascal/92/labeled.txt", "pascal/7/labeled.txt", "pascal/7/unlabeled.txt", "pascal/all/train.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    lists = PublishedLists(dataset="pascal", folder=folder)
    assert lists.names() == ["7", "92", "all"]
    assert lists.split("92") == (folder / "pascal/92/labeled.txt", None)
    assert lists.split("7") == (folder / "pascal/7/labeled.txt", folder / "pascal/7/unlabeled.txt")
    assert lists.split("all") == (folder / "pascal/all/train.txt", None)
    assert lists.split("1464") is None
    assert lists.val() is None
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("dataset", ["levir", "whu"])
def test_splits_of_change_detection_are_in_percent_and_evaluate_on_the_test_list(tmp_path: Path, dataset: str) -> None:
    names = ("5%/labeled.txt", "5%/unlabeled.txt", "train.txt", "val.txt", "test.txt")
    for name in names:
        (tmp_path / dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / dataset / name).touch()
    lists, folder = PublishedLists(dataset=dataset, folder=tmp_path), tmp_path / dataset
    assert lists.names() == ["5", "all"]
    assert lists.split("5") == lists.split("5%") == (folder / "5%/labeled.txt", folder / "5%/unlabeled.txt")
    assert lists.split("all") == (folder / "train.txt", None)
    assert lists.val() == folder / "test.txt"


def test_data_sets_of_images_are_evaluated_on_their_val_list(tmp_path: Path) -> None:
    (tmp_path / "pascal").mkdir()
    (tmp_path / "pascal/val.txt").touch()
    (tmp_path / "pascal/test.txt").touch()
    assert PublishedLists(dataset="pascal", folder=tmp_path).val() == tmp_path / "pascal/val.txt"


@pytest.mark.parametrize("folder", ["missing", "lists/pascal"])
def test_a_folder_without_lists_of_the_data_set_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "lists/pascal/92").mkdir(parents=True)
    (tmp_path / "lists/pascal/92/labeled.txt").touch()
    with pytest.raises(DataError, match=rf"(?s)no lists of pascal.*{folder}.*pascal/val\.txt.*--data\.splits"):
        PublishedLists(dataset="pascal", folder=tmp_path / folder).split("92")
