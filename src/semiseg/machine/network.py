"""What several processes need to find each other, and where weights come from."""

from __future__ import annotations

import socket

from semiseg.machine.check import Check
from semiseg.models.hub import hub_silence

_PORT = 29500
"""Where torchrun's processes meet, by default."""


def check_port() -> Check:
    """Look at whether torchrun's port is free."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", _PORT))
    except OSError as error:
        return Check(
            name="port",
            value=f"{_PORT}, where the processes of torchrun meet, cannot be had ({error.strerror})",
            verdict="note",
            advice="another training may use it: start torchrun with --standalone, or with --master-port N",
        )
    return Check(name="port", value=f"{_PORT}, where the processes of torchrun meet, is free")


def check_host_name() -> Check:
    """Look at whether the machine finds itself by its name, by which processes of several machines meet."""
    name = socket.gethostname()
    try:
        return Check(name="host name", value=f"{name} is {socket.gethostbyname(name)}")
    except OSError:
        return Check(
            name="host name",
            value=f"{name} has no address",
            verdict="note",
            advice="torchrun may wait for it: pass --master-addr 127.0.0.1, or add the name to /etc/hosts",
        )


def check_hub() -> Check:
    """Look at whether the hub of weights answers."""
    silence = hub_silence()
    return Check(
        name="hub",
        value="answers" if silence is None else f"cannot be reached ({silence})",
        verdict="good" if silence is None else "note",
        advice=""
        if silence is None
        else "what is in its cache can be used; else fetch weights elsewhere and pass --model.weights FILE",
    )
