"""A Slurm job whose training really loses its processes ends like one that was never disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from semiseg.api import TrainedRun
from semiseg.slurm import write_slurm

WORDS = ("--schedule.steps", "60", "--schedule.checkpoint_every", "5")

# What the job asks of the cluster, on this machine: `srun` drops its own options and runs the launcher, and hands on
# its signals as srun does; `scontrol requeue` notes that the job comes back.
SRUN = '#!/bin/bash\nwhile [[ "$1" == -* ]]; do shift; done\nexec "$@"\n'
SCONTROL = '#!/bin/bash\ncase "$1" in show) echo 127.0.0.1;; requeue) echo "$2" >> "$QUEUE";; esac\n'


class Cluster:
    """A queue of one job, which runs as often as it is put back."""

    def __init__(self, folder: Path) -> None:
        tools = folder / "tools"
        tools.mkdir()
        for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self.queue, self.number, self.restarts = folder / "queue", str(os.getpid()), 0  # the port follows from it
        self.jobs: list[subprocess.Popen[str]] = []
        self.environment = {
            **os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "QUEUE": str(self.queue), "OMP_NUM_THREADS": "1",
            "SLURM_JOB_ID": self.number, "SLURM_JOB_NODELIST": "node[1-1]", "SLURM_CPUS_PER_TASK": "2",
        }  # fmt: skip

    def start(self, script: Path) -> subprocess.Popen[str]:
        job = subprocess.Popen(
            ["bash", str(script)],
            env={**self.environment, "SLURM_RESTART_COUNT": str(len(self.jobs))},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.jobs.append(job)
        return job

    def requeued(self) -> int:
        return self.queue.read_text().split().count(self.number) if self.queue.exists() else 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    for job in cluster.jobs:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.communicate()


def wait_for_checkpoint(run: Path, newer_than: int = 0) -> int:
    """Wait until the run has a checkpoint of a later step; return its step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        steps = [int(path.name.removeprefix("step_")) for path in (run / "checkpoints").glob("step_*")]
        if max(steps, default=0) > newer_than:
            return max(steps)
        time.sleep(0.01)
    raise AssertionError("the training does not get on")


def trainer(run: Path) -> int:
    """Return the process id of the run's training process."""
    return int((run / ".lock").read_text().split()[1])


def test_a_job_that_is_told_of_its_end_saves_goes_back_into_the_queue_and_ends_as_if_undisturbed(
    cluster: Cluster,
    tiny_words: Callable[..., list[str]],
    train_tiny: Callable[..., TrainedRun],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
    tmp_path: Path,
) -> None:
    undisturbed = train_tiny("undisturbed", *WORDS)
    folder, *words = tiny_words("job", *WORDS)
    script = write_slurm(folder, words, out=tmp_path / "job.sbatch")
    run = tmp_path / "job"

    # Its time runs out.
    job = cluster.start(script)
    before = wait_for_checkpoint(run)
    job.send_signal(signal.SIGUSR1)
    said = job.communicate(timeout=60)[1]
    assert job.returncode != 0, "the training was to be cut off"
    assert "stopped by SIGUSR1" in said
    assert cluster.requeued() == 1
    saved = wait_for_checkpoint(run)
    assert f"stopped by SIGUSR1; {saved} of 60 steps are done and saved" in said
    assert saved >= before

    # It comes back, and loses a process, which the launcher starts again.
    job = cluster.start(script)
    wait_for_checkpoint(run, newer_than=saved)
    os.kill(trainer(run), signal.SIGKILL)
    said = job.communicate(timeout=120)[1]
    assert job.returncode == 0, said
    assert cluster.requeued() == 1
    assert f"resumed after step {saved}" in said
    assert said.count("resumed after step") == 2
    expected, found = end_state(undisturbed.path), end_state(run)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
