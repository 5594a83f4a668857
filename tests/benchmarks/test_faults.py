from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes where Linux shows them")
def test_a_small_campaign_loses_nothing(
    python: tuple[list[str], dict[str, str]], repository: Path, tmp_path: Path
) -> None:
    command, environment = python
    words = ["benchmarks.faults", "--kills", "3", "--seed", "1", "--json", str(tmp_path / "found.json")]
    done = subprocess.run([*command, *words], cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["faults"], found["lost"], found["differing"], found["complaints"]) == (3, 0, 0, 0)
    assert sum(row["faults"] for row in found["kinds"].values()) == 3
    assert "3 faults in 1 runs" in done.stdout
