from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from semiseg.machine import storage


@pytest.mark.parametrize(
    ("free", "writable", "locks", "verdict"),
    [
        (5e10, True, True, "good"),
        (5e10, False, True, "bad"),
        (1e9, True, True, "bad"),
        (5e10, True, False, "note"),
        (1e10, True, True, "note"),
    ],
)
def test_the_disk_one_works_on_is_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: float, writable: bool, locks: bool, verdict: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr("os.access", lambda *_: writable)
    monkeypatch.setattr(storage, "_has_locks", lambda _: locks)
    check = storage.check_disk()
    assert check.verdict == verdict
    assert str(tmp_path) in check.value


def test_a_disk_without_locks_is_told_from_one_with_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert storage._has_locks(tmp_path)

    def missing(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", missing)
    assert not storage._has_locks(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_little_shared_memory_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=64e6))
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    check = storage.check_shared_memory()
    assert (check.verdict, check.value) == ("note", "0.1 GB free in /dev/shm")
    assert "--shm-size=8g" in check.advice


@pytest.mark.parametrize(("limits", "verdict"), [((256, 4096), "note"), ((1024, 4096), "good"), ((-1, -1), "good")])
def test_few_handles_of_files_are_noted(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], verdict: str) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: limits)
    check = storage.check_handles()
    assert check.verdict == verdict
    assert ("ulimit -n 4096" in check.advice) == (verdict == "note")


def test_caches_are_looked_for_where_they_will_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1e9))
    check = storage.check_cache()
    assert f"1.0 GB free in {tmp_path / 'not' / 'yet'}" in check.value
    assert check.verdict == "note"
