from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from benchmarks.speed.live_bytes import LiveBytes
from browsing import NO_BROWSER, find_chromium, opened_browser
from forked import run_together  # tests/support
from playwright.sync_api import Browser
from safetensors.torch import load_file

from semiseg.api import TrainedRun, recipe_config, train
from semiseg.data.scenes import write_scenes

REPOSITORY = Path(__file__).resolve().parents[1]
NO_SHARED_DATA = "no shared data"
PACES = {"train/images_per_second", "train/seconds_per_step", "train/gpu_gb"}


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """Let the workers of pytest-xdist share the cores instead of fighting over them."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def peak_bytes() -> Callable[[Callable[[], object]], int]:
    """Return `peak_bytes(call)`: the most bytes that the tensors made during a call held at once."""

    def measured(call: Callable[[], object]) -> int:
        with LiveBytes() as live:
            call()
        return live.peak

    return measured


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return headless Chromium."""
    if find_chromium() is None:
        pytest.skip(NO_BROWSER)
    with opened_browser() as found:
        yield found


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """Return CamVid: `images/`, `masks/` and `splits/`, 701 scenes of 480x360."""
    return _shared("camvid")


@pytest.fixture(scope="session")
def levir_root() -> Path:
    """Return eleven LEVIR-CD pairs of 256x256: `A/`, `B/` and `label/`."""
    return _shared("levir_sample")


@pytest.fixture(scope="session")
def published_splits() -> Path:
    """Return the published labeled, unlabeled and validation lists, one directory per dataset."""
    return _shared("splits")


@pytest.fixture(scope="session")
def published_reference() -> Path:
    """Return the settings and curves of the published runs: `published_runs.csv`, `published_curves.csv`."""
    return _shared("reference")


@pytest.fixture(scope="session")
def tiny_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of drawn scenes of 64x64: 4 labeled, 6 unlabeled, 2 val; an epoch at batch 2 is 3 steps."""
    root = tmp_path_factory.mktemp("tiny") / "scenes"
    write_scenes(root, labeled=4, unlabeled=6, val=2, size=64)
    return root


@pytest.fixture
def tiny_words(tiny_scenes: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Return `words(name, *overrides)`: a tiny training as it stands on the command line, after `semiseg train`.

    The run is written to `tmp_path / name`. A learning rate at which three steps change every loss, logged each step.
    """
    return lambda name, *overrides: _tiny_words(tiny_scenes, tmp_path, name, overrides)


@pytest.fixture
def train_tiny(tiny_words: Callable[..., list[str]]) -> Callable[..., TrainedRun]:
    """Return `train(name, *overrides, resume=False)`: a tiny training in this process."""

    def run(name: str, *overrides: str, resume: bool = False) -> TrainedRun:
        folder, *words = tiny_words(name, *overrides)
        return train(recipe_config(folder, words), resume=resume)

    return run


@pytest.fixture(scope="session")
def train_once(tiny_scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrainedRun]:
    """Return `train(*overrides)`: a tiny training that others are held against, done once for all tests.

    They leave its directory as it is.
    """
    root = tmp_path_factory.mktemp("undisturbed")

    @cache
    def run(*overrides: str) -> TrainedRun:
        folder, *words = _tiny_words(tiny_scenes, root, str(len(list(root.iterdir()))), overrides)
        return train(recipe_config(folder, words))

    return run


def _tiny_words(scenes: Path, folder: Path, name: str, overrides: Sequence[str]) -> list[str]:
    return [
        *(str(scenes), "--run.folder", str(folder), "--run.name", name, "--device", "cpu"),
        *("--precision", "fp32", "--model.encoder", "vit_nano", "--model.weights", "random"),
        *("--data.crop", "32", "--data.workers", "0", "--schedule.steps", "3", "--schedule.batch", "2"),
        *("--schedule.log_every", "1", "--optimizer.lr", "1e-3", "--optimizer.decoder_multiplier", "1"),
        *("--optimizer.lr_batch", "0", "--consistency.threshold", "0.2", "--evaluation.every", "100", *overrides),
    ]


@pytest.fixture(scope="session")
def numbers() -> Callable[[Path], dict[tuple[int, str], float]]:
    """Return `numbers(run)`: what `metrics.csv` holds by step and name, each once, without what a clock decides."""

    def read(run: Path) -> dict[tuple[int, str], float]:
        with (run / "metrics.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["name"] not in PACES]
        found = {(int(row["step"]), row["name"]): float(row["value"]) for row in rows}
        assert len(found) == len(rows), "a number is logged twice"
        return found

    return read


@pytest.fixture(scope="session")
def python() -> tuple[list[str], dict[str, str]]:
    """Return the start of a command line that runs Python modules as here, and its environment, with one thread."""
    return [sys.executable, "-m"], {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def free_port() -> Callable[[], str]:
    """Return `free_port()`: a port of this machine that nobody listens on."""

    def find() -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return str(probe.getsockname()[1])

    return find


@pytest.fixture
def train_by_two(launch_two: Callable[..., str]) -> Callable[[list[str]], str]:
    """Return `train(words)`: `semiseg train` in two processes; what was printed."""
    return lambda words: launch_two(["-m", "semiseg", "train"], words)


@pytest.fixture
def launch_two(free_port: Callable[[], str], tmp_path: Path) -> Callable[..., str]:
    """Return `launch(program, words)`: a program in two processes of one training; what was printed."""

    def run(program: list[str], words: list[str]) -> str:
        port = free_port()
        return run_together(program, words, tmp_path / f"said {port}", count=2, port=port)

    return run


@pytest.fixture
def launcher(python: tuple[list[str], dict[str, str]]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return `start(options, words, program, **variables)`: torchrun with `semiseg train`, ended when the test ends.

    Without `--nnodes`, it runs two processes on this machine.
    """
    command, environment = python
    started: list[subprocess.Popen[str]] = []

    def start(
        options: list[str], words: list[str], program: Sequence[str] = ("-m", "semiseg"), **variables: str
    ) -> subprocess.Popen[str]:
        here = [] if "--nnodes" in options else ["--standalone", "--nproc-per-node", "2"]
        process = subprocess.Popen(
            [*command, "torch.distributed.run", *here, *options, *program, "train", *words],
            env={**environment, **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()  # it ends its own processes
            process.communicate()


@pytest.fixture(scope="session")
def end_state() -> Callable[[Path], dict[str, torch.Tensor]]:
    """Return `end_state(run)`: all tensors of the newest checkpoint and of the model."""

    def read(run: Path) -> dict[str, torch.Tensor]:
        found = load_file(sorted((run / "checkpoints").glob("step_*"))[-1] / "tensors.safetensors")
        model = load_file(run / "model" / "model.safetensors")
        found |= {f"model/{name}": tensor for name, tensor in model.items()}
        return {name: tensor.clone() for name, tensor in found.items()}  # what was loaded is still the file

    return read


def _shared(name: str) -> Path:
    """Return a directory of real data, from `SEMISEG_SHARED` or from `shared/` beside the repository."""
    path = Path(os.environ.get("SEMISEG_SHARED", REPOSITORY.parent / "shared")) / name
    if not path.is_dir():
        pytest.skip(f"{NO_SHARED_DATA}: {path} is missing; set SEMISEG_SHARED to the directory that holds {name}/")
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests lacked real data or a browser, so that a green run without is not mistaken for a full one."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for title, reason, need in (
        ("REAL DATA MISSING", NO_SHARED_DATA, "real data"),
        ("BROWSER MISSING", NO_BROWSER, "Chromium"),
    ):
        count = sum(reason in text for text in skipped)
        if count:
            terminalreporter.section(title, sep="!", red=True, bold=True)
            terminalreporter.line(
                f"{count} tests that need {need} did not run; the reasons are listed above.", red=True
            )
