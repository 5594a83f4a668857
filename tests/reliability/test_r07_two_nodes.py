"""R7 on two nodes: two launchers train together; one is lost with all its processes, and comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

WORDS = ("--schedule.steps", "40", "--schedule.checkpoint_every", "3", "--schedule.batch", "4")


def wait_for_checkpoint(run: Path) -> None:
    deadline = time.monotonic() + 120
    while not list((run / "checkpoints").glob("step_*")):
        assert time.monotonic() < deadline, "the training does not get on"
        time.sleep(0.01)


def lose(node: subprocess.Popen[str]) -> None:
    """Kill a launcher and all that it started, as when the power of a machine fails."""
    children = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if (folder / "stat").exists() and (folder / "stat").read_text().rpartition(")")[2].split()[1] == str(node.pid)
    ]
    for process in (node.pid, *children):
        os.kill(process, signal.SIGKILL)
    node.communicate()


def test_r07_a_node_that_is_lost_costs_the_steps_since_the_last_checkpoint(
    tiny_words: Callable[..., list[str]],
    train_by_two: Callable[[list[str]], str],
    launcher: Callable[..., subprocess.Popen[str]],
    numbers: Callable[[Path], dict[tuple[int, str], float]],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
    tmp_path: Path,
) -> None:
    train_by_two(tiny_words("undisturbed", *WORDS))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    meeting = [
        *("--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--local-addr", "127.0.0.1"),
        *("--rdzv-backend", "c10d", "--rdzv-id", "test", "--rdzv-endpoint", place),
    ]

    def start(is_host: int = 0) -> subprocess.Popen[str]:
        # They meet at the first one. A lost machine is missed after two seconds instead of fifteen.
        settings = ["--rdzv-conf", f"is_host={is_host},keep_alive_interval=1,keep_alive_max_attempt=2"]
        words = [*tiny_words("lost", *WORDS), "--resume", "auto"]
        return launcher([*meeting, *settings], words, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")

    first, second = start(is_host=1), start()
    wait_for_checkpoint(tmp_path / "lost")
    lose(second)
    again = start()
    said = [node.communicate(timeout=240)[1] for node in (first, again)]
    assert [first.returncode, again.returncode] == [0, 0], said
    assert "resumed after step" in "".join(said)
    run = tmp_path / "lost"
    assert numbers(run) == numbers(tmp_path / "undisturbed")
    expected, found = end_state(tmp_path / "undisturbed"), end_state(run)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
