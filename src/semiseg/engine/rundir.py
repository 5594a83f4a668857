"""The directory of a run: what is in it, and who may begin or continue it."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from semiseg.data.yaml_file import read_yaml
from semiseg.errors import RunError
from semiseg.files import is_bare, write_text


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run's directory."""

    path: Path

    @property
    def config(self) -> Path:
        """The whole configuration; `semiseg train` takes it."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, hardware and command."""
        return self.path / "environment.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here; its text says which one does, or did last."""
        return self.path / ".lock"

    @property
    def data(self) -> Path:
        """The lists of the run's images, and what tells the content of each file."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """What was said, with times."""
        return self.path / "train.log"

    @property
    def metrics(self) -> Path:
        """Every logged number: step, epoch, name, value."""
        return self.path / "metrics.csv"

    @property
    def pseudo_labels(self) -> Path:
        """Shares of the classes among labels and pseudo-labels over the training."""
        return self.path / "pseudo_labels.csv"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def samples(self) -> Path:
        """Pictures of each evaluation."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """What `--resume` continues from."""
        return self.path / "checkpoints"

    @property
    def verdicts(self) -> Path:
        """What the evaluations found, for `--resume`."""
        return self.checkpoints / "evaluations.json"

    @property
    def quality(self) -> Path:
        """What the newest evaluation told beside its score, for the report."""
        return self.checkpoints / "quality.json"

    @property
    def twin(self) -> Path:
        """How the run compares with its labeled-only twin."""
        return self.path / "twin.json"

    @property
    def distilled(self) -> Path:
        """What the run, a student, gained and lost beside its teachers."""
        return self.path / "distilled.json"

    @property
    def extremes(self) -> Path:
        """The val images that the newest evaluation found worst and best."""
        return self.path / "worst_and_best.png"

    @property
    def model(self) -> Path:
        """The best teacher, ready to use."""
        return self.path / "model"


def refuse_place(directory: RunDirectory, *, resume: bool) -> None:
    """Refuse to continue where there is no run, and to begin where there is anything.

    A directory with a lock and no configuration is as good as none: a process was killed that was about to begin.

    Raises:
        RunError: says which of them, or that the path is not UTF-8.
    """
    _refuse_bytes(directory.path)
    if resume and not directory.config.is_file():
        raise RunError("no run to resume", where=directory.path, remedy="leave --resume out, or correct --run.name")
    if not resume and directory.path.exists() and not _is_bare(directory):
        raise RunError(
            "the run directory is not empty",
            where=directory.path,
            remedy="continue that run with --resume, or choose another name with --run.name NAME",
        )


def _is_bare(directory: RunDirectory) -> bool:
    if not directory.path.is_dir():
        return False
    return is_bare(directory.path) or (directory.lock.exists() and not directory.config.exists())


def begin_run(directory: RunDirectory, config: dict[str, Any], facts: dict[str, int]) -> None:
    """Create the directory and write the configuration and the environment.

    Args:
        directory: the run.
        config: the whole configuration.
        facts: more for `environment.json`, for example counts of images.

    Raises:
        RunError: as `refuse_place`; nothing in the directory is touched.
    """
    refuse_place(directory, resume=False)
    write_text(directory.environment, json.dumps({**environment(), **facts}, indent=1) + "\n")
    write_text(directory.config, yaml.safe_dump(config, sort_keys=False))


def _refuse_bytes(path: Path) -> None:
    """Refuse what TensorBoard cannot name, before it does so with a traceback."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise RunError(
            "the path of the run directory is not UTF-8",
            where=path,
            remedy="choose another --run.folder or --run.name",
        ) from error


def continue_run(directory: RunDirectory, config: dict[str, Any], free: set[str]) -> list[str]:
    """Check that a run can be continued with a configuration, and write down what is new in it.

    Args:
        directory: the run.
        config: the configuration now.
        free: dotted keys that may differ.

    Returns:
        A line for each key that differs.

    Raises:
        RunError: there is no run here, or other keys differ; nothing is touched.
    """
    refuse_place(directory, resume=True)
    before = flatten(read_yaml(directory.config, RunError, typed=True))
    now = flatten(config)
    differing = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    lines = [f"{key}: {before.get(key)!r} in the run, {now.get(key)!r} now" for key in differing]
    fixed = [line for key, line in zip(differing, lines, strict=True) if key not in free]
    if fixed:
        raise RunError(
            "the configuration differs from that of the run:\n    " + "\n    ".join(fixed),
            where=directory.config,
            remedy="resume with the run's own settings, or start a new run with --run.name NAME",
        )
    if lines:
        write_text(directory.config, yaml.safe_dump(config, sort_keys=False))
    return lines


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def environment() -> dict[str, str | int]:
    """Return the facts that a result may depend on."""
    facts: dict[str, str | int] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["semiseg", *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor()),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }
    for package in ("semiseg", "torch", "torchvision", "timm", "numpy", "pillow", "safetensors"):
        facts[package] = _version(package)
    return facts


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "from source"
