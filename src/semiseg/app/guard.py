"""Who may speak to the page: the person who started it, from the page itself, in bounded requests.

The port is open on the loopback interface alone. That keeps the network out, but neither other people of this machine
nor web pages that the person's own browser has open. So every request must carry the key that was printed on the
terminal, name this server as its host (a page that has its name resolved to 127.0.0.1 names itself), and where it
changes anything come from a page of this server.
"""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_UPLOAD = 256 * 2**20
"""Bytes of a picture that is dropped on the page."""
MAX_WORDS = 64 * 2**10
"""Bytes of any other request."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Answers what may not pass, and gives every answer the headers that keep the page to itself.

    Args:
        app: what is guarded.
        port: that the server listens on.
        key: what a person must know to come in.
    """

    def __init__(self, app: ASGIApp, port: int, key: str) -> None:
        self.app, self.key = app, key
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        # Cookies do not tell ports apart; two apps of one machine shall not throw each other out.
        self.cookie = f"semiseg-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer = self._answer(scope)
        await (answer or self.app)(scope, receive, send_guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """Return the answer to a request that may not pass, or that brings the key."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self.hosts or len(headers.getlist("host")) != 1:
            return _refused(421, "This server answers as 127.0.0.1 and localhost alone, on its own port.")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return _refused(403, "Another page asked for this.")
        if self._is(parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[0]) and scope["path"] == "/":
            coming_in = RedirectResponse("/", status_code=303)
            coming_in.set_cookie(self.cookie, self.key, httponly=True, samesite="strict")
            return coming_in
        if not self._is(cookie_parser(headers.get("cookie", "")).get(self.cookie, "")):
            return _refused(403, "Open the address that `semiseg app` has printed: it holds the key.")
        return None if scope["method"] in ("GET", "HEAD") else _refused_change(headers, host, scope["path"])

    def _is(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self.key.encode())


def _refused_change(headers: Headers, host: str, path: str) -> Response | None:
    """Return the answer to a request that would change something, and comes from elsewhere or is too large."""
    if headers.get("origin") != f"http://{host}":
        return _refused(403, "A change must come from this page.")
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal()):
        return _refused(411, "The length of the request is not given.")
    most = MAX_UPLOAD if path == "/api/pictures" else MAX_WORDS
    if len(length) > 12 or int(length) > most:
        return _refused(413, f"At most {most // 2**10:,} KiB are taken.")
    return None


def _refused(status: int, reason: str) -> Response:
    # What is left of a request that was refused is not read.
    return PlainTextResponse(reason, status, headers={"Connection": "close"})
