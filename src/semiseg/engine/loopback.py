"""Where the processes of one machine meet: on its loopback interface, which no other machine reaches.

What they say to each other is neither encrypted nor signed, so whoever reaches their ports can take part in a training.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from semiseg.engine.rounds import own_round

_HOST = "127.0.0.1"


def meeting_place(rank: int, count: int, timeout: timedelta) -> dict[str, Any]:
    """Return what `init_process_group` needs to know beyond torchrun's environment; nothing for several machines.

    On one machine, Gloo and NCCL are told to use the loopback interface, unless the environment names another. Where
    the launcher has opened no store, the main process opens one on loopback; torch's own listens on every interface.
    One that the launcher keeps through its restarts is not used twice; see `semiseg.engine.rounds`.

    Args:
        rank: number of this process.
        count: how many there are.
        timeout: how long to wait for the others.
    """
    alone = int(os.environ.get("LOCAL_WORLD_SIZE", "0")) == count
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if alone else ():
        os.environ.setdefault(name, _interface())
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE")
    if kept == "True":
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(address, port, count, False, timeout)  # type: ignore[attr-defined]  # not exported
        return {"store": own_round(store, rank, count, timeout), "rank": rank, "world_size": count}
    if kept is None or not alone:
        return {}
    port, listening = int(os.environ["MASTER_PORT"]), None
    if rank == 0:
        server = socket.create_server((_HOST, port), backlog=count)
        listening = server.detach()  # the store closes it
    store = dist.TCPStore(  # type: ignore[attr-defined]  # torch does not say that it exports it
        _HOST, port, count, rank == 0, timeout, master_listen_fd=listening
    )
    return {"store": store, "rank": rank, "world_size": count}


def _interface() -> str:
    """Return the name of the loopback interface: `lo`, on a Mac `lo0`."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
