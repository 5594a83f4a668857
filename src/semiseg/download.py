"""Fetch files that others publish: pinned by SHA-256, kept in a cache, never half there."""

from __future__ import annotations

import hashlib
import http
import http.client
import ipaddress
import itertools
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

from semiseg.errors import SemisegError
from semiseg.files import sha256_of, whole_file

_TIMEOUT = 30  # seconds that the server may be silent
_CHUNK = 1 << 20  # bytes
_TRIES = 5  # times that a download may break off and go on


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file somebody publishes, as it was when it was pinned.

    Attributes:
        url: where it lies; https, or http of this machine.
        sha256: hash of its content, 64 hexadecimal digits.
        size: bytes, exactly.
    """

    url: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's own name."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])


def cache_folder() -> Path:
    """Return where downloads are kept: `$SEMISEG_CACHE`, `$XDG_CACHE_HOME/semiseg` or `~/.cache/semiseg`."""
    if own := os.environ.get("SEMISEG_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semiseg"


def download(file: RemoteFile, error: type[SemisegError]) -> Path:
    """Return the path of the file in the cache, after fetching it if it is not there, or no longer what it was.

    Any number of processes may ask for the same file at once. A file put at that path by hand is as good as a download.

    Args:
        file: what to fetch.
        error: what to raise.

    Raises:
        error: the server cannot be reached or does not have the file, the file is cut short, larger than pinned or of
            other content. Nothing partial stays behind.
        FileError: the cache cannot be written.
    """
    path = cache_folder() / file.sha256[:16] / file.name
    if not _is_whole(path, file):
        _fetch(file, path, error)
    return path


def _is_whole(path: Path, file: RemoteFile) -> bool:
    try:
        return sha256_of(path) == file.sha256
    except OSError:
        return False


def _fetch(file: RemoteFile, path: Path, error: type[SemisegError]) -> None:
    if not _is_secure(file.url):
        raise error("download without encryption", where=file.url, expected="https://", remedy="correct the address")
    remedy = "make room in the cache, or set SEMISEG_CACHE to another folder"
    content = _content(file, path, error)
    first = next(content, b"")  # before anything is written: the server may not be there
    with whole_file(path, remedy=remedy) as draft, draft.open("wb") as target:
        digest, received = hashlib.sha256(), 0
        for chunk in itertools.chain([first], content):
            received += len(chunk)
            digest.update(chunk)
            target.write(chunk)
        _refuse_other(file, path, received, digest.hexdigest(), error)


def _content(file: RemoteFile, path: Path, error: type[SemisegError]) -> Iterator[bytes]:
    """Yield what the server sends, at most one byte more than the pinned size; ask it to go on where it breaks off."""
    received = 0
    for _ in range(_TRIES):
        before = received
        with _answer(file, path, error, received) as answer:
            if received and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                return  # it would begin again
            for chunk in _chunks(answer, file.size - received):
                received += len(chunk)
                yield chunk
        if received in (before, file.size) or received > file.size:
            return


@contextmanager
def _answer(file: RemoteFile, path: Path, error: type[SemisegError], first: int) -> Iterator[_Answer]:
    """Ask for the file from byte `first` on."""
    by_hand = f"or put the file at {path} by hand"
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={first}-"} if first else {})
    try:
        answer = urllib.request.build_opener(_SecureRedirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as cause:
        cause.close()
        raise error(
            f"the server does not give the file out (HTTP status {cause.code})",
            where=file.url,
            remedy=f"try again later, {by_hand}",
        ) from cause
    except (OSError, http.client.HTTPException) as cause:
        raise error(
            f"the server cannot be reached ({getattr(cause, 'reason', cause)})",
            where=file.url,
            remedy=f"connect this machine to the internet (HTTPS_PROXY names a proxy), {by_hand}",
        ) from cause
    with answer:
        yield answer


class _Answer(Protocol):
    status: int

    def read(self, amount: int, /) -> bytes: ...


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect that leaves encryption."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not _is_secure(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            raise urllib.error.URLError(f"redirected to {newurl} without encryption")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_secure(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(parts.hostname or ""))


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _chunks(answer: _Answer, size: int) -> Iterator[bytes]:
    """Yield what the server sends until it ends or breaks off, at most one byte more than `size`."""
    left = size + 1
    while left:
        try:
            chunk = answer.read(min(_CHUNK, left))
        except http.client.IncompleteRead as cut:
            chunk, left = cut.partial, len(cut.partial)
        except (OSError, http.client.HTTPException):
            return
        if not chunk:
            return
        yield chunk
        left -= len(chunk)


def _refuse_other(file: RemoteFile, path: Path, received: int, digest: str, error: type[SemisegError]) -> None:
    """Raise unless what came is the file that was pinned."""
    if received < file.size:
        what, remedy = f"the download broke off after {received:,} bytes", "try again"
    elif received > file.size:
        what, remedy = "the download is larger than the file that was pinned", "see whether the publisher moved it"
    elif digest != file.sha256:
        what, remedy = f"the download has another content (SHA-256 {digest})", "see whether a proxy altered it"
    else:
        return
    raise error(
        what,
        where=file.url,
        expected=f"{file.size:,} bytes, SHA-256 {file.sha256}",
        remedy=f"{remedy}, or put the right file at {path} by hand",
    )
