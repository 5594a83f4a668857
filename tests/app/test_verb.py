from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from semiseg.cli import app as verb
from semiseg.cli import main


def test_the_verb_prints_an_address_that_opens_the_page_until_it_is_stopped(
    tiny_run: Path, tmp_path: Path, python: tuple[list[str], dict[str, str]]
) -> None:
    command, environment = python
    words = ["app", str(tiny_run), "--port", "0", "--json", str(tmp_path / "app.json")]
    process = subprocess.Popen(
        [*command, "semiseg", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Tests that a shell has put into the background ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"open (http://127\.0\.0\.1:\d+/\?key=\S+)\n", line)
        assert found, process.communicate()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        assert b"semiseg app" in opener.open(found[1], timeout=60).read()
        assert json.loads((tmp_path / "app.json").read_text()) == {"url": found[1]}
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in said


def test_what_cannot_be_opened_is_said(
    tiny_run: Path, queue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, said in (
            ([str(tmp_path / "nothing")], "no model here"),
            ([str(tiny_run), "--with", str(tmp_path / "nothing")], "no model here"),
            ([str(tiny_run), "--queue", str(tmp_path)], "unreadable suggestions"),
            ([str(tiny_run), "--port", port], f"port {port} cannot be had"),
            ([str(tiny_run), "--port", "99999"], "port 99999 cannot be had"),
        ):
            assert main(["app", *words]) == 2
            assert said in capsys.readouterr().err


def test_without_the_extra_the_verb_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "find_spec", lambda name: None)
    assert main(["app", "runs/none"]) == 2
    assert "pip install 'semiseg[app]'" in capsys.readouterr().err
