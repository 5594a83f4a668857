from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from semiseg.engine.distributed import Processes, choose_device, join_processes
from semiseg.errors import ConfigError


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("name", "gpus", "local_rank", "expected"),
    [
        ("auto", 0, 0, "cpu"),
        ("auto", 2, 1, "cuda:1"),
        ("cpu", 2, 0, "cpu"),
        ("cuda", 2, 0, "cuda:0"),
        ("cuda", 2, 1, "cuda:1"),
        ("cuda:1", 2, 0, "cuda:1"),
    ],
)
def test_a_device_is_chosen(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, local_rank: int, expected: str
) -> None:
    pretend_gpus(monkeypatch, gpus)
    assert str(choose_device(name, local_rank)) == expected


@pytest.mark.parametrize(
    ("name", "gpus", "message"),
    [
        ("cuda", 0, "no GPU found"),
        ("cuda:2", 2, "GPU 2 wanted, 2 found"),
        ("meta", 2, "unknown device 'meta'"),
        ("cuda:-1", 2, "unknown device"),
        ("cuda:x", 2, "unknown device"),
        ("", 2, "unknown device"),
        ("gpu", 2, "unknown device"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, message: str
) -> None:
    pretend_gpus(monkeypatch, gpus)
    with pytest.raises(ConfigError, match=message):
        choose_device(name)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2)
    with pytest.raises(ConfigError, match=r"(?s)GPU 2 wanted.*no more processes"):
        choose_device("auto", local_rank=2)


def test_one_process_needs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join_processes("cpu") as processes:
        assert (processes.rank, processes.count, processes.is_main) == (0, 1, True)
        assert not dist.is_initialized()
        processes.wait()
        assert processes.sum(torch.tensor(3)).item() == 3
        assert processes.gather_texts("") == [""]


def test_one_gpu_cannot_serve_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ConfigError, match="one GPU for 2 processes"), join_processes("cuda:0"):
        pytest.fail("joined")


def test_only_the_first_process_is_the_main_one() -> None:
    assert [Processes(rank, 2, torch.device("cpu")).is_main for rank in range(2)] == [True, False]


def run_two(program: str, **environment: str) -> list[subprocess.Popen[str]]:
    """Start a program in two processes that find each other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", **environment}
    return [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**world, "RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


MEMBER = """
import json
import torch
import torch.distributed as dist
from semiseg.engine.distributed import join_processes

with join_processes("cpu") as processes:
    mine = torch.tensor([1.0, 10.0]) * (processes.rank + 1)
    total = processes.sum(mine)
    processes.wait()
    texts = processes.gather_texts("ä" * 1000 * processes.rank)
    print(json.dumps([processes.rank, processes.is_main, mine.tolist(), total.tolist(), texts]))
assert not dist.is_initialized()
"""


def test_two_processes_add_up_and_leave() -> None:
    members = run_two(MEMBER)
    found = [json.loads(member.communicate(timeout=60)[0]) for member in members]
    texts = ["", "ä" * 1000]
    assert found == [[0, True, [1.0, 10.0], [3.0, 30.0], texts], [1, False, [2.0, 20.0], [3.0, 30.0], texts]]
    assert [member.returncode for member in members] == [0, 0]


FAILING = """
import sys, time
import torch
import torch.distributed as dist
from semiseg.engine.distributed import join_processes

with join_processes("cpu") as processes:
    processes.wait()
    if processes.is_main:
        sys.stdin.read()  # does not come to the collective that the other is in
    pending = dist.all_reduce(torch.ones(1_000_000), async_op=True)
    raise ZeroDivisionError
"""


def test_who_fails_amid_a_collective_does_not_wait_for_the_others() -> None:
    main, other = run_two(FAILING)
    try:
        assert "ZeroDivisionError" in other.communicate(timeout=60)[1]
        assert main.poll() is None, "the other one is still where it was"
    finally:
        main.kill()
        main.communicate()


HANGING = """
import os, signal
import torch
from semiseg.engine.distributed import join_processes

with join_processes("cpu") as processes:
    processes.wait()
    if not processes.is_main:
        os.kill(os.getpid(), signal.SIGSTOP)
    processes.sum(torch.ones(1))
"""


def test_who_hangs_is_given_up() -> None:
    main, other = run_two(HANGING, SEMISEG_TIMEOUT="3")
    try:
        assert "Timed out" in main.communicate(timeout=60)[1]
        assert main.returncode == 1
    finally:
        other.kill()
        other.communicate()


def test_who_is_left_behind_says_so() -> None:
    main, other = run_two(HANGING.replace("SIGSTOP", "SIGKILL"))
    said = main.communicate(timeout=60)[1]
    other.communicate(timeout=60)
    assert "RunError: another process of this training has ended" in said, said
    assert "seen by process 0 of 2" in said


@pytest.mark.parametrize("text", ["", "0", "-1", "ten", "1e3", "1.5"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "SEMISEG_TIMEOUT": text}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="SEMISEG_TIMEOUT"), join_processes("cpu"):
        pytest.fail("joined")


ONE_FOR_ALL = """
import json
from semiseg.engine.distributed import join_processes
from semiseg.errors import FileError, SemisegError

def fail():
    raise FileError("the disk is full", remedy="free space")

with join_processes("cpu") as processes:
    done = []
    processes.by_main(lambda: done.append("did it"))
    try:
        processes.by_main(fail)
    except SemisegError as error:
        done.append(str(error).splitlines()[0])
    processes.wait()
    print(json.dumps(done))
"""


def test_what_the_main_process_does_for_all_fails_for_all() -> None:
    said = [json.loads(member.communicate(timeout=60)[0]) for member in run_two(ONE_FOR_ALL)]
    assert said == [["did it", "the disk is full"], ["process 0 could not go on"]]


@pytest.mark.parametrize(("variables", "neighbours"), [({"LOCAL_WORLD_SIZE": "4"}, 4), ({}, 1)])
def test_processes_know_how_many_share_their_machine(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], neighbours: int
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with join_processes("cpu") as processes:
        assert processes.neighbours == neighbours
