"""Programs in processes of their own, forked from one that has imported torch: importing it takes them seconds.

What is killed, resumed or divided among processes is the same as with `python PROGRAM`. Where the launcher, the
environment at start, or the start itself is what a test is about, it starts Python instead.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "torch", "semiseg.cli.training", "semiseg.api", "semiseg.reporting"])


class Forked:
    """A running program; what it prints is in a file."""

    def __init__(self, program: Sequence[str], words: Sequence[str], said: Path, **environment: str) -> None:
        """Start `program`, a file or `-m` and a module, with `words` after it.

        Args:
            program: what is run.
            words: its arguments.
            said: where standard output and error go, after what is there.
            **environment: variables beside those of this process.
        """
        self.said = said
        known = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self.process = _CONTEXT.Process(target=_run, args=([*program, *words], known, str(said)))
        self.process.start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self.process.exitcode

    def wait(self, seconds: float = 300) -> int:
        """Return the exit code once it has ended; one that takes longer is killed."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"no end after {seconds} s: {self.said.read_text()}")
        return self.process.exitcode

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.process.kill()
        self.process.join()


def start_together(program: Sequence[str], words: Sequence[str], said: Path, *, count: int, port: str) -> list[Forked]:
    """Start a program in several processes that find each other as torchrun's do; return them by rank."""
    world = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    world["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    return [Forked(program, words, said, RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in range(count)]


def run_together(program: Sequence[str], words: Sequence[str], said: Path, *, count: int, port: str) -> str:
    """Run a program as `start_together` starts it, to its end; return what its processes printed."""
    ranks = start_together(program, words, said, count=count, port=port)
    deadline = time.monotonic() + 300
    while waiting := [each.process.sentinel for each in ranks if each.poll() is None]:
        wait(waiting, timeout=max(0, deadline - time.monotonic()))
        if any(each.poll() for each in ranks) or time.monotonic() > deadline:
            break  # the others would wait for one that has failed
    for each in ranks:
        each.kill()
    assert [each.poll() for each in ranks] == [0] * count, said.read_text()
    return said.read_text()


def _run(words: list[str], environment: dict[str, str], said: str) -> None:
    import torch

    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
