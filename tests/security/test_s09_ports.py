"""S9: the processes of one machine listen on its loopback interface alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's list of sockets")

LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
"""127.0.0.1 and ::1 as the kernel writes them."""
LISTENS = "0A"

SCRIPT = """
import sys, time
from pathlib import Path
import torch
from semiseg.engine.distributed import join_processes

folder = Path(sys.argv[1])
with join_processes("cpu") as processes:
    assert processes.sum(torch.ones(1)).item() == 2
    (folder / f"met{processes.rank}").touch()
    while not (folder / "looked").exists():
        time.sleep(0.05)
"""


def descendants(process: int) -> list[int]:
    """Return a process and all that it has started."""
    children = [
        int(child)
        for task in os.listdir(f"/proc/{process}/task")
        for child in Path(f"/proc/{process}/task/{task}/children").read_text().split()
    ]
    return [process, *(found for child in children for found in descendants(child))]


def sockets(process: int) -> set[str]:
    folder = Path(f"/proc/{process}/fd")
    targets = [os.readlink(path) for path in folder.iterdir() if path.is_symlink()]
    return {target[len("socket:[") : -1] for target in targets if target.startswith("socket:[")}


def listening(processes: list[int]) -> list[str]:
    """Return the addresses that some processes listen on, as `ADDRESS:PORT` of the kernel."""
    owned = {number for process in processes for number in sockets(process)}
    tables = [
        path.read_text().splitlines()[1:] for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()
    ]
    rows = [line.split() for table in tables for line in table]
    return [row[1] for row in rows if row[3] == LISTENS and row[9] in owned]


def test_s09_a_run_of_two_processes_listens_on_loopback_alone(tmp_path: Path) -> None:
    """The command is that of SECURITY.md."""
    (tmp_path / "script.py").write_text(SCRIPT)
    place = ["--rdzv-backend", "c10d", "--rdzv-conf", "store_type=file", "--rdzv-endpoint", str(tmp_path / "meet")]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *place]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    process = subprocess.Popen(
        [*command, str(tmp_path / "script.py"), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not all((tmp_path / f"met{rank}").exists() for rank in range(2)):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        found = listening(descendants(process.pid))
        (tmp_path / "looked").touch()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()
    assert len(found) >= 2, "the store and gloo listen"
    assert {address.partition(":")[0] for address in found} <= LOOPBACK
