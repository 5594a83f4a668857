from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from semiseg import download as module
from semiseg.download import RemoteFile, cache_folder, download
from semiseg.errors import DataError, FileError, ModelError

CONTENT = b"one image, one mask\n" * 5000


class Server:
    """A server on this machine that answers as `answer` says and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = respond(CONTENT)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.http.server_port}"


def respond(body: bytes, *, status: int = 200, length: int | None = None) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirect(url: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.end_headers()

    return answer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def remote(server: Server, content: bytes = CONTENT, path: str = "/a/val.txt") -> RemoteFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return RemoteFile(url=f"http://{server.address}{path}", sha256=sha256, size=len(content))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def refused(file: RemoteFile, cache: Path) -> str:
    """Check what every failure owes and return its message."""
    with pytest.raises(DataError) as raised:
        download(file, DataError)
    message = str(raised.value)
    assert file.url in message
    assert "remedy:" in message
    assert files(cache) == []
    return message


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(server: Server, cache: Path) -> None:
    file = remote(server, path="/lists/5%25/val.txt")
    path = download(file, DataError)
    assert path.read_bytes() == CONTENT
    assert path.name == file.name == "val.txt"
    assert files(cache) == [path]
    assert path.stat().st_mode & 0o777 == 0o644  # others may share the cache
    assert download(file, DataError) == path
    assert server.asked == ["/lists/5%25/val.txt"]


def test_files_of_one_name_do_not_take_each_others_place(server: Server) -> None:
    first = download(remote(server, path="/pascal/val.txt"), DataError)
    server.answer = respond(b"other")
    second = download(remote(server, b"other", path="/coco/val.txt"), DataError)
    assert (first.read_bytes(), second.read_bytes()) == (CONTENT, b"other")


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT[:-1] + b"x"])
def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server, content: bytes) -> None:
    path = download(remote(server), DataError)
    path.write_bytes(content)
    assert download(remote(server), DataError).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_file_put_into_the_cache_by_hand_needs_no_server(server: Server, cache: Path) -> None:
    server.answer = respond(b"", status=500)
    file = remote(server)
    message = refused(file, cache)
    place = Path(message.partition("put the file at ")[2].partition(" by hand")[0])
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert download(file, DataError) == place


def test_another_content_is_refused(server: Server, cache: Path) -> None:
    server.answer = respond(CONTENT[:-1] + b"x")
    message = refused(remote(server), cache)
    assert "another content" in message
    assert hashlib.sha256(CONTENT).hexdigest() in message


@pytest.mark.parametrize("length", [len(CONTENT), 3000])
def test_a_file_that_is_cut_short_is_refused(server: Server, cache: Path, length: int) -> None:
    server.answer = respond(CONTENT[:3000], length=length)
    assert "broke off after 3,000 bytes" in refused(remote(server), cache)


def test_a_server_that_falls_silent_is_not_waited_for(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        respond(CONTENT[:3000], length=len(CONTENT))(handler)
        silent.wait(10)

    server.answer = answer
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    message = refused(remote(server), cache)
    silent.set()
    assert "broke off" in message


def test_no_more_than_the_pinned_size_is_read(server: Server, cache: Path) -> None:
    written = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while len(written) < 1000:
                handler.wfile.write(b"x" * 100_000)
                written.append(1)
        except OSError:
            pass

    server.answer = endless
    assert "larger than the file that was pinned" in refused(remote(server), cache)
    assert len(written) < 1000


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_missing_file_is_named_with_the_status(server: Server, cache: Path, status: int) -> None:
    server.answer = respond(b"<html>", status=status)
    assert f"HTTP status {status}" in refused(remote(server), cache)


def test_a_server_that_is_not_there_is_named(server: Server, cache: Path) -> None:
    url = "http://127.0.0.1:9/val.txt"
    message = refused(RemoteFile(url=url, sha256="0" * 64, size=1), cache)
    assert "cannot be reached" in message
    assert "HTTPS_PROXY" in message


def test_an_answer_that_is_no_http_is_named(server: Server, cache: Path) -> None:
    server.answer = lambda handler: handler.wfile.write(b"220 ftp ready\r\n")  # type: ignore[assignment,return-value]
    assert "cannot be reached" in refused(remote(server), cache)


@pytest.mark.parametrize(
    "url",
    ["http://example.com/val.txt", "ftp://127.0.0.1/val.txt", "file:///etc/passwd", "http://127.0.0.1.example.com/x"],
)
def test_what_is_not_encrypted_is_not_even_asked_for(cache: Path, url: str) -> None:
    assert "without encryption" in refused(RemoteFile(url=url, sha256="0" * 64, size=1), cache)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/val.txt", "redirected to http://example.com/val.txt without encryption"),
        ("ftp://example.com/val.txt", "without encryption"),
        ("file:///etc/passwd", "302"),
    ],
)
def test_a_redirect_that_leaves_encryption_is_not_followed(server: Server, cache: Path, url: str, says: str) -> None:
    server.answer = redirect(url)
    assert says in refused(remote(server), cache)
    assert len(server.asked) == 1


def test_a_redirect_to_where_it_is_allowed_is_followed(server: Server) -> None:
    file = remote(server)
    there = redirect(f"http://{server.address}/moved")
    server.answer = lambda handler: (respond(CONTENT) if handler.path == "/moved" else there)(handler)
    assert download(file, DataError).read_bytes() == CONTENT
    assert server.asked == ["/a/val.txt", "/moved"]


def test_a_failure_leaves_the_folder_of_a_damaged_file_without_partial_ones(server: Server, cache: Path) -> None:
    path = download(remote(server), DataError)
    path.write_bytes(b"damaged")
    server.answer = respond(CONTENT[:-1])
    with pytest.raises(DataError, match="broke off"):
        download(remote(server), DataError)
    assert files(cache) == [path]


def test_the_error_is_of_the_callers_kind(server: Server) -> None:
    server.answer = respond(b"", status=404)
    with pytest.raises(ModelError, match="404"):
        download(remote(server), ModelError)


def test_a_cache_that_cannot_be_written_is_named(server: Server, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(FileError, match=r"(?s)cannot write.*SEMISEG_CACHE"):
        download(remote(server), DataError)


def test_several_at_once_get_the_same_whole_file(server: Server, cache: Path) -> None:
    together = threading.Barrier(4, timeout=10)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        together.wait()  # so that all of them are at it at the same time
        respond(CONTENT)(handler)

    server.answer = answer
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(download(remote(server), DataError).read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len(files(cache)) == 1


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SEMISEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "semiseg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "semiseg"
