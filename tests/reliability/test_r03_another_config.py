"""R3: a run resumed with another configuration or network is refused with what differs, and nothing is overwritten."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from semiseg.api import TrainedRun
from semiseg.config import FREE_ON_RESUME, config_class, keys_of, to_dict
from semiseg.engine.rundir import RunDirectory, continue_run, flatten
from semiseg.errors import DataError, RunError

PLAIN = to_dict(config_class()())
OTHER: dict[type, Any] = {str: "other", int: 77, float: 0.77, bool: True, list: ["other"], type(None): "other"}


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file but the note of who last held the run."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def with_another(key: str) -> dict[str, Any]:
    """Return the default settings with another value of one key."""
    section, _, name = key.rpartition(".")
    part = PLAIN[section] if section else PLAIN
    value = {name: OTHER[type(part[name])] if part[name] is not True else False}
    return PLAIN | ({section: part | value} if section else value)


@pytest.mark.parametrize("key", [key for key, _ in keys_of(config_class())])
def test_r03_each_key_of_a_run_is_held_to(key: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(PLAIN))
    before = contents(tmp_path)
    now = with_another(key)
    assert flatten(now) != flatten(PLAIN)
    if key in FREE_ON_RESUME:
        (line,) = continue_run(RunDirectory(tmp_path), now, FREE_ON_RESUME)
        assert line.startswith(f"{key}: ")
        assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == now, "what is new is written down"
    else:
        with pytest.raises(RunError, match=rf"(?s)differs from that of the run:\n    {key}: .* in the run, .* now"):
            continue_run(RunDirectory(tmp_path), now, FREE_ON_RESUME)
        assert contents(tmp_path) == before


def test_r03_other_classes_are_refused_and_nothing_is_overwritten(
    train_tiny: Callable[..., TrainedRun], tiny_scenes: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(tiny_scenes, root)
    run = train_tiny("x", "--data.root", str(root))
    described = yaml.safe_load((root / "dataset.yaml").read_text())
    described["classes"].append("one more")
    described.pop("palette", None)
    (root / "dataset.yaml").write_text(yaml.safe_dump(described))
    before = contents(run.path)
    with pytest.raises(DataError, match=r"(?s)classes: .* in the run, .*one more.* now.*remedy: .*--run\.name"):
        train_tiny("x", "--data.root", str(root), resume=True)
    assert contents(run.path) == before


@pytest.mark.parametrize(
    ("of", "into"),
    [
        ([], ["--model.features", "8"]),
        ([], ["--model.level_widths", "[8, 8, 8, 8]"]),
        (["--consistency.teacher", "student"], []),  # without a teacher of its own
    ],
)
def test_r03_a_checkpoint_of_another_network_is_refused_with_the_shapes(
    of: list[str], into: list[str], train_tiny: Callable[..., TrainedRun], tmp_path: Path
) -> None:
    one, other = train_tiny("one", *of).path, train_tiny("other", *into).path
    shutil.rmtree(other / "checkpoints")
    shutil.copytree(one / "checkpoints", other / "checkpoints")
    before = contents(other)
    with pytest.raises(RunError, match=r"(?s)another network:\n    (student|teacher)/.* in the checkpoint, .* now"):
        train_tiny("other", *into, resume=True)
    assert contents(other) == before
