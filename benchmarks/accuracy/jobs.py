"""A worker in a process of its own: its start, what it says, its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiseg.files import write_text

REPOSITORY = Path(__file__).resolve().parents[2]


def start(file: Path, job: Mapping[str, Any], core: int | None) -> subprocess.Popen[bytes]:
    """Start a worker with one thread; Ctrl-C does not reach it, whoever starts it has to end it.

    Args:
        file: where its job is written, `NAME.job.json`; what it says goes into `NAME.log`.
        job: see the worker.
        core: where it runs; None: anywhere.
    """
    write_text(file, json.dumps({**job, "core": core}, indent=1))
    command = [sys.executable, "-m", "benchmarks.accuracy.worker", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with said(file).open("ab") as log:
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def said(file: Path) -> Path:
    """Return where the worker of a job file says how it goes."""
    return file.with_name(file.name.replace(".job.json", ".log"))


def complaint(file: Path) -> str:
    """Return the end of what the worker of a job file said, and where the rest is."""
    log = said(file)
    return f"{' '.join(log.read_text(encoding='utf-8', errors='replace')[-600:].split())} (all of it: {log})"
