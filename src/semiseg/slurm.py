"""A submit script for a Slurm cluster: one or many nodes, saved and requeued at the time limit, resumed there."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template

import torch

from semiseg.assembly import divide, run_name
from semiseg.config.recipe import recipe_config
from semiseg.engine.distributed import Processes
from semiseg.errors import ConfigError, RunError
from semiseg.files import write_text
from semiseg.printable import printable

_SCRIPT = Template("""\
#!/bin/bash
# $name on $nodes node(s) with $gpus GPU(s) each. Submit it with sbatch from the directory that holds the runs; the same
# command, after whatever ended the job, goes on from the newest checkpoint. Where the nodes have no network, fetch the
# lists and weights before, on one that has:
#   semiseg fetch $fetched
#SBATCH --job-name=$name
#SBATCH --nodes=$nodes
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=$gpus
#SBATCH --cpus-per-task=$cpus
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
$options
set -uo pipefail

# Two minutes before its time limit the job lets the training save a checkpoint and goes back into the queue. srun hands
# this signal on to the launchers, and they to the training; of SIGTERM, srun would kill them.
told=
step=
tell_the_training() {
    told=yes
    [ -z "$$step" ] || kill -USR1 "$$step"
}
trap tell_the_training USR1

# Without this, launchers that go on could not meet one that is new (PyTorch issue 135712).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
first_node=$$(scontrol show hostnames "$$SLURM_JOB_NODELIST" | head -n 1)

# One launcher on each node; they meet at the first one, at a port of the job's own. If a process dies, all are started
# again, up to $restarts times, from the newest checkpoint.
srun --cpus-per-task="$${SLURM_CPUS_PER_TASK:-$cpus}" $python -m torch.distributed.run \\
    --nnodes $nodes --nproc-per-node $gpus --max-restarts $restarts \\
    --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 \\
    --rdzv-backend c10d --rdzv-id "$$SLURM_JOB_ID-$${SLURM_RESTART_COUNT:-0}" \\
    --rdzv-endpoint "$$first_node:$$((20000 + SLURM_JOB_ID % 20000))" \\
    -m semiseg train $words --resume auto &
step=$$!

wait "$$step"
code=$$?
while kill -0 "$$step" 2> /dev/null; do # the signal ends a wait, not the training
    wait "$$step"
    code=$$?
done
if [ -n "$$told" ] && [ "$$code" -ne 0 ]; then
    scontrol requeue "$$SLURM_JOB_ID"
fi
exit "$$code"
""")

_CPUS = 8
"""Cores for each GPU: one process and seven loaders."""

_RESTARTS = 3
"""How often a job starts its processes again before it fails: enough for chance, too few to hide a fault."""


def slurm_script(
    recipe: str, overrides: Sequence[str] = (), *, nodes: int = 1, gpus: int = 1, options: Sequence[str] = ()
) -> str:
    """Return a bash script for sbatch that trains a recipe and survives its time limit and its node.

    What can be checked here is checked here, and not after hours in a queue: the recipe, every setting, and that the
    global batch divides among the processes.

    Args:
        recipe: as `semiseg train` takes it.
        overrides: settings, as on the command line.
        nodes: number of nodes.
        gpus: GPUs, and processes, on each node.
        options: more for sbatch, for example `--partition=gpu` or `--time=24:00:00`.

    Raises:
        ConfigError: a recipe or setting that cannot run, or a batch that does not divide.
    """
    for name, count in (("nodes", nodes), ("gpus", gpus)):
        if count < 1:
            raise ConfigError(f"{name} is {count}", expected="1 or more", remedy=f"correct --{name}")
    for option in options:
        if not option.startswith("-") or "\n" in option:
            raise ConfigError(
                f"{option!r} is no option of sbatch", expected="--NAME=VALUE", remedy="pass --sbatch=--partition=gpu"
            )
    config = recipe_config(recipe, list(overrides))
    divide(config, Processes(0, nodes * gpus, torch.device("cuda")))
    # The name is written down, so that a job that was put back finds its run again.
    name = run_name(config)
    words = [recipe, *overrides] if config.run.name else [recipe, *overrides, "--run.name", name]
    return _SCRIPT.substitute(
        name=shlex.quote(printable(name)),
        nodes=nodes,
        gpus=gpus,
        options="\n".join(f"#SBATCH {option}" for option in options),
        cpus=_CPUS * gpus,
        restarts=_RESTARTS,
        python=shlex.quote(sys.executable),
        words=shlex.join(words),
        fetched=printable(shlex.join([recipe, *overrides])),
    ).replace("\n\n\n", "\n\n")


def write_slurm(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    nodes: int = 1,
    gpus: int = 1,
    options: Sequence[str] = (),
    out: Path | None = None,
) -> Path:
    """Write the script of `slurm_script` to `out`, by default `NAME.sbatch` here, and return its path.

    Raises:
        ConfigError: as `slurm_script`.
        RunError: the file exists with another content.
        FileError: it cannot be written.
    """
    script = slurm_script(recipe, overrides, nodes=nodes, gpus=gpus, options=options)
    path = out or Path(f"{run_name(recipe_config(recipe, list(overrides)))}.sbatch")
    if path.exists() and path.read_text(encoding="utf-8") != script:
        raise RunError("the file exists and says something else", where=path, remedy="remove it, or pass --out FILE")
    write_text(path, script)
    return path
