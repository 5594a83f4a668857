from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semiseg.machine import hardware


def test_a_machine_without_gpu_and_driver_is_fine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(hardware, "_DRIVER", tmp_path / "none")
    (check,) = hardware.check_devices()
    assert (check.verdict, check.value) == ("note", "none: the CPU computes")


def test_a_driver_whose_gpu_torch_does_not_find_is_bad(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5\nGCC version: 12\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(hardware, "_DRIVER", driver)
    (check,) = hardware.check_devices()
    assert check.verdict == "bad"
    assert "550.54.15" in check.value
    assert "CUDA_VISIBLE_DEVICES" in check.advice


@pytest.mark.parametrize(("free", "verdict"), [(139e9, "good"), (20e9, "note")])
def test_a_gpu_is_described_and_one_in_use_is_noted(monkeypatch: pytest.MonkeyPatch, free: float, verdict: str) -> None:
    answers = {
        "is_available": True, "device_count": 1, "mem_get_info": (free, 140e9),
        "get_device_capability": (9, 0), "get_device_name": "NVIDIA H200",
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    (check,) = hardware.check_devices()
    assert check.name == "cuda:0"
    assert f"NVIDIA H200, {free / 1e9:.0f} GB free of 140 GB, compute capability 9.0" in check.value
    assert check.verdict == verdict


@pytest.mark.parametrize(("quota", "verdict"), [("max 100000", "good"), ("200000 100000", "note")])
def test_what_a_container_leaves_of_the_cores_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, verdict: str
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(hardware, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(16), raising=False)
    check = hardware.check_cores()
    assert check.value.startswith("16; a training in one process reads images with 8 more")
    assert check.verdict == verdict
    assert ("--data.workers 1" in check.advice) == (verdict == "note")


@pytest.mark.parametrize(
    ("limit", "says", "verdict"), [("max", "20 GB free of 64 GB", "good"), ("4e9", "4.0 GB free of 4.0 GB", "note")]
)
def test_what_a_container_leaves_of_the_memory_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, says: str, verdict: str
) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: {int(64e9 / 1024)} kB\nMemAvailable:  {int(20e9 / 1024)} kB\n\n")
    (tmp_path / "limit").write_text(limit)
    monkeypatch.setattr(hardware, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(hardware, "_LIMIT", tmp_path / "limit")
    check = hardware.check_memory()
    assert (check.value, check.verdict) == (says, verdict)
