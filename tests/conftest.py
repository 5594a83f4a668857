from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
NO_SHARED_DATA = "no shared data"


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """Let the workers of pytest-xdist share the cores instead of fighting over them."""
    torch.set_num_threads(1)


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


def _shared(name: str) -> Path:
    """Return a directory of real data, from `SEMISEG_SHARED` or from `shared/` beside the repository."""
    path = Path(os.environ.get("SEMISEG_SHARED", REPOSITORY.parent / "shared")) / name
    if not path.is_dir():
        pytest.skip(f"{NO_SHARED_DATA}: {path} is missing; set SEMISEG_SHARED to the directory that holds {name}/")
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests had no real data to run on, so that a green run without it is not mistaken for a full one."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(NO_SHARED_DATA in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.section("REAL DATA MISSING", sep="!", red=True, bold=True)
        terminalreporter.line(f"{count} tests that need real data did not run; the reasons are listed above.", red=True)
