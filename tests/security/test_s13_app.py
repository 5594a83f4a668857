"""S13: the page of `semiseg app` serves the person who started it, from itself, in bounded requests."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image, ImageFile
from starlette.routing import Route

from semiseg.app import App, opened_app
from semiseg.app.guard import MAX_UPLOAD, MAX_WORDS
from semiseg.data.palette import default_palette
from semiseg.models import ModelCard, ModelConfig, build_segmenter, save_model


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("app")
    network = ModelConfig(encoder="vit_nano", decoder="dpt", weights="random")
    names = ("field", "<script>alert(1)</script>")
    card = ModelCard(classes=names, palette=default_palette(2), crop=32, model=network)
    save_model(folder / "model", build_segmenter(network, 2), card)
    (folder / "queue").mkdir()
    (folder / "queue" / "suggestions.json").write_text('[{"image": "a.png"}]')
    with opened_app(folder / "model", queue=folder / "queue", port=0, device="cpu") as served:
        thread = threading.Thread(target=served.serve)
        thread.start()
        yield served
        served.stop()
        thread.join()


@pytest.fixture
def address(app: App) -> str:
    return urlsplit(app.url).netloc


@pytest.fixture
def cookie(app: App, address: str) -> str:
    answer = ask(address, "GET", urlsplit(app.url).path + "?" + urlsplit(app.url).query)
    assert answer.status == 303
    given = answer.headers["Set-Cookie"]
    assert "HttpOnly" in given
    assert "SameSite=strict" in given
    return given.partition(";")[0]


def ask(address: str, method: str, path: str, body: bytes | None = None, **headers: str) -> HTTPResponse:
    connection = HTTPConnection(address, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def addresses(app: App) -> list[tuple[str, str]]:
    """Return a method and a path for every address that there is."""
    routes = [route for route in app.site.routes().routes if isinstance(route, Route)]
    assert len(routes) > 10
    return [
        (min(route.methods or (), key=len), route.path.replace("{name}", "r1").replace("{number:int}", "0"))
        for route in routes
    ]


def png() -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}", ""]
)
def test_s13_a_foreign_host_header_gets_nothing_anywhere(app: App, address: str, cookie: str, host: str) -> None:
    host = host.format(port=address.partition(":")[2])
    for method, path in addresses(app):
        answer = ask(address, method, path, Host=host, Cookie=cookie, Origin=f"http://{host}")
        assert answer.status == 421, path


def test_s13_two_host_headers_get_nothing(address: str, cookie: str) -> None:
    head = f"GET /api/session HTTP/1.1\r\nHost: {address}\r\nHost: evil.example\r\nCookie: {cookie}\r\n\r\n"
    name, _, port = address.partition(":")
    with socket.create_connection((name, int(port)), timeout=60) as connection:
        connection.sendall(head.encode())
        status = connection.recv(4096).split()[1]
    assert status in (b"400", b"421")


@pytest.mark.parametrize("key", [None, "", "wrong", "é"])
def test_s13_nobody_comes_in_without_the_key(app: App, address: str, key: str | None) -> None:
    name = f"semiseg-{address.partition(':')[2]}"
    known = {} if key is None else {"Cookie": f"{name}={key.encode().decode('latin-1')}"}
    for method, path in addresses(app):
        answer = ask(address, method, path, Origin=f"http://{address}", **known)
        assert answer.status == 403, path
    assert ask(address, "GET", f"/?key={'' if key is None else 'wrong'}").status == 403


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "https://{address}", "http://127.0.0.1:1"])
def test_s13_changes_come_from_the_page_alone(app: App, address: str, cookie: str, origin: str | None) -> None:
    given = {} if origin is None else {"Origin": origin.format(address=address)}
    for method, path in addresses(app):
        if method == "POST":
            assert ask(address, method, path, b"{}", Cookie=cookie, **given).status == 403, path


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_s13_other_pages_cannot_show_what_is_here(app: App, address: str, cookie: str, site: str) -> None:
    for method, path in addresses(app):
        assert ask(address, method, path, Cookie=cookie, Sec_Fetch_Site=site).status == 403, path


def test_s13_every_answer_keeps_the_page_to_itself(app: App, address: str, cookie: str) -> None:
    for method, path in (*addresses(app), ("GET", "/nothing"), ("DELETE", "/")):
        for known in ({"Cookie": cookie}, {}):
            answer = ask(address, method, path, Origin=f"http://{address}", **known)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(("path", "most"), [("/api/pictures?suffix=.png", MAX_UPLOAD), ("/api/results", MAX_WORDS)])
@pytest.mark.parametrize("length", ["{more}", "9" * 30, "-1", "1e3", "\u0661".encode().decode("latin-1")])
def test_s13_a_request_that_is_too_large_is_refused_before_it_is_read(
    address: str, cookie: str, path: str, most: int, length: str
) -> None:
    length = length.format(more=most + 1)
    head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\nOrigin: http://{address}\r\n"
    name, _, port = address.partition(":")
    with socket.create_connection((name, int(port)), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode("latin-1"))
        assert connection.recv(4096).split()[1] in (b"411", b"413", b"400")


def test_s13_a_request_without_a_length_is_refused(address: str, cookie: str) -> None:
    connection = HTTPConnection(address, timeout=60)
    connection.putrequest("POST", "/api/pictures?suffix=.png")
    headers = {"Cookie": cookie, "Origin": f"http://{address}", "Transfer-Encoding": "chunked"}
    for name, value in headers.items():
        connection.putheader(name, value)
    # No part of the body: it is refused by its headers, and who still sends then finds the connection closed.
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


def upload(address: str, cookie: str, content: bytes, suffix: str = ".png") -> HTTPResponse:
    where = f"/api/pictures?suffix={suffix}"
    return ask(address, "POST", where, content, Cookie=cookie, Origin=f"http://{address}")


def test_s13_a_bomb_is_refused_by_its_header(
    address: str, cookie: str, bomb: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("pixels were decoded"))
    began = time.perf_counter()
    answer = upload(address, cookie, bomb)
    assert answer.status == 422
    assert b"larger than the cap" in answer.body
    assert time.perf_counter() - began < 10


@pytest.fixture
def bomb() -> bytes:
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["/../../x.png", "..%2F..%2Fx.png", "%00.png", ".png%2F..%2F..%2Fx.png"])
def test_s13_no_name_leads_out_of_the_folder_of_uploads(app: App, address: str, cookie: str, suffix: str) -> None:
    answer = upload(address, cookie, png(), suffix)
    assert answer.status == 200
    path = app.site.pictures.path(json.loads(answer.body)["picture"])
    assert path.name.removesuffix(".png").isalnum()
    assert path.parent.name.startswith("semiseg-app-")


@pytest.mark.parametrize("suffix", ["", ".svg", ".html", ".py", ".npy", ".png.exe", "png"])
def test_s13_only_images_are_taken(address: str, cookie: str, suffix: str) -> None:
    assert upload(address, cookie, b"<svg/>", suffix).status == 422


@pytest.mark.parametrize("name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "k99", "u0.png"])
def test_s13_no_path_is_served(address: str, cookie: str, name: str) -> None:
    for path in (f"/api/pictures/{name}", f"/api/results/{name}/maps", f"/{name}"):
        answer = ask(address, "GET", path, Cookie=cookie)
        assert answer.status == 404
        assert b"root:" not in answer.body


def test_s13_uploads_do_not_pile_up_and_go_with_the_app(app: App, address: str, cookie: str) -> None:
    for _ in range(20):
        assert upload(address, cookie, png()).status == 200
    assert upload(address, cookie, b"no image").status == 422
    name = json.loads(upload(address, cookie, png()).body)["picture"]
    folder: Path = app.site.pictures.path(name).parent
    assert len(list(folder.iterdir())) == 16


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[", b"3", b"[]", b"{}", b"[" * 60_000),
        *(b'{"pictures": "u1", "model": "model"}', b'{"pictures": [[]], "model": {}}'),
        *(b'{"decision": "accept", "threshold": "nan"}', b'{"decision": "accept", "threshold": NaN, "result": "r1"}'),
    ],
)
def test_s13_requests_of_another_form_are_refused_in_words(address: str, cookie: str, body: bytes) -> None:
    for path in ("/api/results", "/api/queue/0", "/api/queue/7"):
        answer = ask(address, "POST", path, body, Cookie=cookie, Origin=f"http://{address}")
        assert answer.status in (400, 404), path
        assert json.loads(answer.body)["error"]


def test_s13_the_server_listens_on_loopback_alone(app: App) -> None:
    assert app.listens_on == "127.0.0.1"


def test_s13_the_page_holds_no_text_from_outside(address: str, cookie: str) -> None:
    page = ask(address, "GET", "/", Cookie=cookie)
    assert b"alert(1)" not in page.body
    assert b"http" not in page.body
    session = ask(address, "GET", "/api/session", Cookie=cookie)
    assert session.headers["Content-Type"] == "application/json"
