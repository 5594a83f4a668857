"""Completion: what a shell offers, asked of bash itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from semiseg.cli import VERBS, main
from semiseg.cli.data import DATA_VERBS

pytest.importorskip("shtab", reason="SHTAB IS MISSING (the extra completion)")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the script for bash."""
    path = tmp_path_factory.mktemp("completion") / "semiseg.bash"
    path.write_text(printed("bash"))
    return path


def printed(shell: str) -> str:
    with redirect_stdout(StringIO()) as out:
        assert main(["completion", shell]) == 0
    return out.getvalue()


def offered(script: Path, *words: str, folder: Path | None = None) -> set[str]:
    """Return what bash offers for the last of the words after `semiseg`."""
    typed = ["semiseg", *words]
    ask = f"""
    source {script}
    COMP_WORDS=({" ".join(map(repr, typed))})
    COMP_CWORD={len(words)}
    COMP_LINE="${{COMP_WORDS[*]}}"
    $(complete -p semiseg | sed 's/.*-F \\([^ ]*\\).*/\\1/') semiseg {typed[-1]!r} {typed[-2]!r}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60, cwd=folder)
    assert not done.stderr, done.stderr
    return set(done.stdout.split())


def test_every_verb_is_offered(script: Path) -> None:
    assert offered(script, "") >= set(VERBS)
    assert offered(script, "ev") == {"evaluate"}
    assert offered(script, "data", "") >= set(DATA_VERBS)


def test_options_settings_and_their_values_are_offered(script: Path) -> None:
    assert offered(script, "predict", "--over") == {"--overlays", "--overwrite"}
    assert offered(script, "train", "--consistency.t") == {"--consistency.threshold", "--consistency.teacher"}
    assert {"unimatch_v2", "supervised"} <= offered(script, "train", "--method", "")
    assert offered(script, "export", "--precision", "f") == {"fp32", "fp16"}


def test_recipes_and_folders_are_offered(script: Path, tmp_path: Path) -> None:
    (tmp_path / "camera").mkdir()
    assert offered(script, "train", "cam", folder=tmp_path) >= {"camvid", "camvid-cpu", "camera"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script(shell: str, tmp_path: Path) -> None:
    text = printed(shell)
    assert all(word in text for word in ("camvid-cpu", "consistency.threshold", "unimatch_v2"))
    if shutil.which(shell):
        (tmp_path / "script").write_text(text)
        done = subprocess.run([shell, "--no-execute", tmp_path / "script"], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr


def test_without_its_library_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'semiseg[completion]'" in capsys.readouterr().err
