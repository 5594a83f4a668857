"""S12: few dependencies, exactly locked; extras are imported where they are needed and nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

# Import names of what is optional, for tests, or avoided.
EXTRAS = ("scipy", "pycocotools", "rasterio", "segmentation_models_pytorch", "open_clip", "av", "pillow_heif")
TOOLS = ("pytest", "_pytest", "hypothesis", "torchmetrics", "importlinter", "mypy", "ruff", "xdist")
AVOIDED = ("lightning", "pytorch_lightning", "albumentations", "cv2", "gradio", "wandb", "mlflow")

BLOCKED = """
import pkgutil, sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        blocked = name.partition(".")[0] in sys.argv[1].split(",")
        return None if blocked else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path = [Without(finder) for finder in sys.meta_path]
"""

IMPORT_ALL = (
    BLOCKED
    + """
import semiseg
names = [module.name for module in pkgutil.walk_packages(semiseg.__path__, "semiseg.")]
for name in names:
    if name != "semiseg.__main__":
        __import__(name)
for name in semiseg.__all__:
    getattr(semiseg, name)
print(len(names))
"""
)

RUN = (
    BLOCKED
    + """
from semiseg.cli import main
sys.exit(main(sys.argv[2:]))
"""
)


def python(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program that finds none of the blocked modules."""
    blocked = ",".join((*EXTRAS, *TOOLS, *AVOIDED))
    return subprocess.run(
        [sys.executable, "-c", program, blocked, *words], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    return found


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, str]:
    """Return the locked versions by name."""
    lines = (repository / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_s12_every_module_is_imported_without_extras() -> None:
    done = python(IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 80


def test_s12_a_training_and_a_prediction_need_no_extra(tiny_words: Any, tmp_path: Path, tiny_scenes: Path) -> None:
    done = python(RUN, "train", *tiny_words("run"))
    assert done.returncode == 0, done.stderr
    done = python(RUN, "predict", str(tmp_path / "run"), str(tiny_scenes / "images"), "--out", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "new").rglob("*.png"))


def test_s12_dependencies_are_few_and_none_is_avoided(project: dict[str, Any]) -> None:
    needed = {name_of(line) for line in project["dependencies"]}
    assert len(needed) <= 15
    everything = needed | {name_of(line) for lines in project["optional-dependencies"].values() for line in lines}
    assert everything.isdisjoint({name.replace("_", "-") for name in AVOIDED})


def test_s12_the_lock_names_one_version_of_each_and_no_source(repository: Path, pins: dict[str, str]) -> None:
    lines = [line for line in (repository / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert len(pins) == len(lines), "one line a name"
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    assert pins.keys().isdisjoint({"lightning", "pytorch-lightning"}), "2.6.2 and 2.6.3 of lightning were malicious"


def test_s12_what_is_tested_here_is_what_is_locked(project: dict[str, Any], pins: dict[str, str]) -> None:
    locked = {name.lower().replace("_", "-"): pin for name, pin in pins.items()}
    for line in project["dependencies"]:
        name = name_of(line)
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed as a distribution")
        assert installed == locked[name], name
