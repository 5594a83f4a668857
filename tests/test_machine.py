from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import semiseg
from semiseg.machine import doctor


def test_the_doctor_names_versions_devices_precision_and_room() -> None:
    facts = doctor()
    assert facts["semiseg"] in (semiseg.__version__, "from source")
    assert torch.__version__.startswith(facts["torch"])
    assert facts["precision"] in ("fp32", "bf16")
    assert facts["device"] == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert facts["gpus"] == torch.cuda.device_count()
    assert 1 <= facts["cores"] <= (os.cpu_count() or 1)
    assert facts["free_disk_gb"] > 0
    assert json.loads(json.dumps(facts)) == facts


def test_what_belongs_to_a_run_is_left_out() -> None:
    assert not {"started", "command"} & doctor().keys()


def test_the_free_disk_is_that_of_the_folder_one_works_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def usage(path: object) -> SimpleNamespace:
        asked.append(Path(str(path)).resolve())
        return SimpleNamespace(free=12_340_000_000)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", usage)
    assert doctor()["free_disk_gb"] == 12.3
    assert asked == [tmp_path.resolve()]


def test_cores_count_on_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert doctor()["cores"] == os.cpu_count()
