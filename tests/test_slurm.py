from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from semiseg.errors import ConfigError, RunError
from semiseg.slurm import slurm_script, write_slurm

PASCAL = "pascal/92-unimatch_v2-dinov2_base"


def test_the_script_is_bash_and_says_what_was_asked_for() -> None:
    script = slurm_script(PASCAL, ["--data.root", "/data/my pascal"], nodes=2, gpus=4, options=["--partition=gpu"])
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).stderr == ""
    head = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    asked = {"nodes=2", "gpus-per-node=4", "cpus-per-task=32", "requeue", "signal=B:USR1@120", "partition=gpu"}
    assert {f"#SBATCH --{option}" for option in asked} <= {*head}
    assert script.startswith("#!/bin/bash\n")
    assert script.index(head[-1]) < script.index("set -uo pipefail")  # sbatch reads options before the first command
    assert "'/data/my pascal'" in script
    assert "--nnodes 2 --nproc-per-node 4" in script
    assert f"--run.name {PASCAL.replace('/', '-')}-seed0 --resume auto" in script
    assert f"#   semiseg fetch {PASCAL} --data.root '/data/my pascal'" in script


def test_a_name_that_is_no_plain_writing_stays_in_its_line() -> None:
    script = slurm_script(PASCAL, ["--data.root", "a\nrm -rf ~", "--run.name", "b\nrm -rf ~"])
    lines = script.splitlines()
    assert [line for line in lines[:9] if not line.startswith("#")] == []
    assert [line for line in lines if line.startswith("rm")] == ["rm -rf ~' --run.name 'b", "rm -rf ~' --resume auto &"]


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
