from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg.errors import ConfigError, RunError
from semiseg.slurm import slurm_script, write_slurm

PASCAL = "pascal/92-unimatch_v2-dinov2_base"


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a job on a pretended cluster of this machine alone: `srun` runs its command here."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/bash\nexec "$@"\n')
    (tools / "scontrol").write_text(
        f'#!/bin/bash\ncase "$1" in show) echo 127.0.0.1;; *) echo "$@" >> {tmp_path}/requeued;; esac\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    number = str(os.getpid())  # the port follows from it
    job = {"SLURM_JOB_ID": number, "SLURM_JOB_NODELIST": "node[1-1]", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **job, "PATH": f"{tools}:{os.environ['PATH']}"}


def test_the_script_is_bash_and_says_what_was_asked_for() -> None:
    script = slurm_script(PASCAL, ["--data.root", "/data/my pascal"], nodes=2, gpus=4, options=["--partition=gpu"])
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).stderr == ""
    head = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert {"#SBATCH --nodes=2", "#SBATCH --gpus-per-node=4", "#SBATCH --requeue", "#SBATCH --partition=gpu"} <= {*head}
    assert script.startswith("#!/bin/bash\n")
    assert script.index(head[-1]) < script.index("set -euo pipefail")  # sbatch reads options before the first command
    assert "'/data/my pascal'" in script
    assert "--nnodes 2 --nproc-per-node 4" in script
    assert f"runs/{PASCAL.replace('/', '-')}-seed0/config.yaml" in script


def test_a_job_that_comes_back_resumes_its_run(
    cluster: dict[str, str], tiny_words: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder, *words = tiny_words("job", "--schedule.checkpoint_every", "1")
    script = write_slurm(folder, words, gpus=2, out=tmp_path / "job.sbatch")
    for expected in ("step 3/3", "resumed after step 3"):
        done = subprocess.run(["bash", str(script)], env=cluster, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert expected in done.stderr
    assert "2 processes" in (tmp_path / "job/train.log").read_text()


def test_before_the_time_limit_the_job_goes_back_into_the_queue(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "tools/srun").write_text(f"#!/bin/bash\ntouch {tmp_path}/begun\nsleep 1\n")
    script = write_slurm(PASCAL, out=tmp_path / "job.sbatch")
    job = subprocess.Popen(["bash", str(script)], env=cluster, cwd=tmp_path)
    deadline = time.monotonic() + 20
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    job.wait(timeout=20)
    assert (tmp_path / "requeued").read_text() == f"requeue {cluster['SLURM_JOB_ID']}\n"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"nodes": 3}, "a batch of 16 cannot be divided among 3 processes"),
        ({"gpus": 0}, "gpus is 0"),
        ({"options": ["partition=gpu"]}, "no option of sbatch"),
        ({"options": ["--x\nrm -rf ~"]}, "no option of sbatch"),
        ({"overrides": ["--schedule.bacth", "8"]}, "did you mean '--schedule.batch'"),
    ],
)
def test_what_cannot_run_is_refused_before_it_waits_in_a_queue(asked: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        slurm_script(PASCAL, **asked)  # type: ignore[arg-type]


def test_another_script_is_not_overwritten(tmp_path: Path) -> None:
    path = write_slurm(PASCAL, out=tmp_path / "job.sbatch")
    assert write_slurm(PASCAL, out=path) == path
    with pytest.raises(RunError, match="exists and says something else"):
        write_slurm(PASCAL, gpus=4, out=path)
    assert "--nproc-per-node 1" in path.read_text()
