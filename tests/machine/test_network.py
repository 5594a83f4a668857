from __future__ import annotations

import socket

import pytest

from semiseg.machine import network
from semiseg.models import hub


def test_a_port_that_is_taken_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(network, "_PORT", server.getsockname()[1])
        check = network.check_port()
        assert check.verdict == "note"
        assert "--master-port" in check.advice
    assert network.check_port().verdict == "good"


def test_a_host_without_address_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.gethostbyname", unknown)
    assert "--master-addr 127.0.0.1" in network.check_host_name().advice


def test_a_hub_that_is_silent_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "hub_silence", lambda: None)
    assert network.check_hub().verdict == "good"
    monkeypatch.setattr(network, "hub_silence", lambda: "no route to host")
    check = network.check_hub()
    assert (check.verdict, check.value) == ("note", "cannot be reached (no route to host)")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert hub.hub_silence() == "HF_HUB_OFFLINE is set"
