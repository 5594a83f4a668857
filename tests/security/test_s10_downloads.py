"""S10: what is downloaded is encrypted, pinned by hash, capped by size, and goes on where it broke off."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from semiseg.download import RemoteFile, download
from semiseg.errors import ModelError

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """A server on this machine that sends at most `most` bytes an answer, of what it calls the file."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.most, self.resumes, self.asked = CONTENT, len(CONTENT), True, list[str]()

    def file(self) -> RemoteFile:
        url = f"http://127.0.0.1:{self.server_port}/weights.safetensors"
        return RemoteFile(url=url, sha256=hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.asked.append(asked)
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.resumes else 0
        body = self.server.content[first:]
        self.send_response(206 if asked and self.server.resumes else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.most])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def refused(file: RemoteFile, cache: Path, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        download(file, ModelError)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_s10_another_hash_is_refused_and_nothing_stays(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    refused(server.file(), tmp_path / "cache", "another content")


def test_s10_more_than_the_pinned_size_is_not_read(server: Server, tmp_path: Path) -> None:
    server.content, server.most = CONTENT * 50, len(CONTENT) * 50
    refused(server.file(), tmp_path / "cache", "larger than the file that was pinned")


@pytest.mark.parametrize("url", ["http://example.com/x", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_s10_what_is_not_encrypted_is_not_asked_for(tmp_path: Path, url: str, server: Server) -> None:
    refused(RemoteFile(url=url, sha256="0" * 64, size=1), tmp_path / "cache", "without encryption")
    assert server.asked == []


def test_s10_a_download_goes_on_where_it_broke_off(server: Server) -> None:
    server.most = len(CONTENT) // 3
    assert download(server.file(), ModelError).read_bytes() == CONTENT
    third = len(CONTENT) // 3
    assert server.asked == ["", f"bytes={third}-", f"bytes={2 * third}-", f"bytes={3 * third}-"]


def test_s10_it_goes_on_a_few_times_only(server: Server, tmp_path: Path) -> None:
    server.most = 1000
    refused(server.file(), tmp_path / "cache", "broke off after 5,000 bytes")
    assert len(server.asked) == 5


def test_s10_a_server_that_cannot_go_on_is_left(server: Server, tmp_path: Path) -> None:
    server.resumes, server.most = False, 1000
    refused(server.file(), tmp_path / "cache", "broke off after 1,000 bytes")
    assert len(server.asked) == 2
