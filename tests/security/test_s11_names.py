"""Row S11: names of files and classes that try to act on the terminal, the log, the table or the page."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pages import Page

from semiseg.api import TrainedRun
from semiseg.cli import main
from semiseg.data.scenes import write_scenes
from semiseg.engine.rundir import RunDirectory
from semiseg.engine.runlog import RunLog
from semiseg.errors import DataError
from semiseg.printable import printable
from semiseg.reporting import report
from semiseg.reporting.record import read_run

NAMES = [
    "two\nlines",
    "2026-01-31 12:00:00  done\r\nall is well",
    "=cmd('calc')",
    "+1-1",
    "-x",
    "@sum",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe",
    "<script>alert(1)<",
    "\"quoted' & <b>",
    "{{ 7 * 7 }}{% raw %}",
    "x" * 251,
    os.fsdecode(b"n\xe9"),
]
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
"""What must not reach a terminal or a file of text; line breaks are counted instead."""

names = pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def table(run: Path) -> list[list[str]]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@names
def test_s11_a_log_line_stays_one_line_without_control_characters(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with RunLog(RunDirectory(tmp_path), active=True) as log:
        log.say(f"left out {name}")
        log.status(name)
    text = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  left out .+\n", text)
    own_erasing = terminal.getvalue().replace("\r\x1b[2K", "")
    assert not CONTROL.search(text + own_erasing)
    assert own_erasing.count("\n") == 1


@names
def test_s11_a_table_holds_names_as_one_plain_row_that_no_spreadsheet_computes(name: str, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.config.write_text("recipe: x\n")
    with RunLog(run, active=True) as log:
        log.numbers(3, 0.5, {"teacher/miou": 0.25, f"teacher/iou/{name}": 0.5})
    text = run.metrics.read_text(encoding="utf-8")
    assert text.count("\n") == 3
    assert not CONTROL.search(text)
    assert all(not cell.startswith(tuple("=+-@\t\r")) for row in table(tmp_path) for cell in row)
    assert read_run(tmp_path).classes() == (printable(name),)


@names
def test_s11_an_error_names_a_file_without_obeying_its_name(name: str) -> None:
    message = str(DataError("damaged image", where=Path("images") / name, remedy="replace it"))
    assert not CONTROL.search(message)
    assert len(message.splitlines()) == 3
    assert printable(name) in message
    assert not CONTROL.search(str(DataError(f"no {name!s}", where=f"list, {name}", remedy=f"draw {name}")))


@names
def test_s11_a_page_shows_names_as_they_are_escaped(name: str, tmp_path: Path) -> None:
    run = tmp_path / name
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"recipe": name, "method": name, "data": {"root": name}}))
    (run / "environment.json").write_text(json.dumps({"command": f"semiseg train {name}", name: name}))
    with RunLog(RunDirectory(tmp_path), active=True) as log:
        log.numbers(3, 0.5, {"teacher/miou": 0.25, f"teacher/iou/{name}": 0.5})
    (tmp_path / "metrics.csv").rename(run / "metrics.csv")
    page = Page(report(run).read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(printable(name)) >= 6  # title, headline, recipe, method, class, environment
    assert not CONTROL.search("".join(page.text))
    assert "49" not in "".join(page.text)


def test_s11_reports_of_runs_of_such_names_are_named_on_standard_output(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("recipe: x\n")
    code = "import sys; from semiseg.cli import main; sys.exit(max(main(['report', run]) for run in sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *(str(tmp_path / name) for name in NAMES)],
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    pages = [os.fsencode(str(tmp_path / name / "report.html")) + b"\n" for name in NAMES]
    assert done.stdout == b"".join(pages), "for scripts, the paths as they are"


def test_s11_a_run_directory_that_tensorboard_cannot_name_is_refused(
    tmp_path: Path, tiny_words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"n\xe9")
    assert main(["train", *tiny_words(name)]) == 2
    message = capsys.readouterr().err
    assert "not UTF-8" in message
    assert printable(name) in message
    assert not (tmp_path / name).exists()


def test_s11_a_missing_run_is_refused_without_obeying_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        assert main(["report", f"missing/{name}"]) == 2
        message = capsys.readouterr().err
        assert not CONTROL.search(message)
        assert printable(name) in message


def test_s11_a_class_that_cannot_be_printed_is_refused_before_a_run_begins(
    tmp_path: Path, tiny_words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "scenes"
    write_scenes(root, labeled=4, unlabeled=2, val=2, size=64)
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("classes: [", 'classes: ["wa\\nter\\e[31m", ', 1))
    assert main(["train", str(root), *tiny_words("odd")[1:]]) == 2
    assert "printable" in capsys.readouterr().err
    assert not (tmp_path / "odd").exists()


UNLISTABLE = [name for name in NAMES if set(name) & set("\n\r\udce9")]
"""What no list can hold, so that no run could keep which images were what."""


def rename_scenes(root: Path, names: list[str]) -> None:
    """Draw scenes and call the first ones by these names, images and masks alike."""
    write_scenes(root, labeled=len(NAMES), unlabeled=3, val=2, size=64)
    description = (root / "dataset.yaml").read_text().splitlines(keepends=True)
    (root / "dataset.yaml").write_text("".join(line for line in description if not line.startswith("lists")))
    for index, name in enumerate(names):
        for folder in ("images", "masks"):
            (root / folder / f"scene_{index:06d}.png").rename(root / folder / f"{name}.png")


def test_s11_a_training_on_such_files_ends_well_and_leaves_plain_text(
    tmp_path: Path, train_tiny: Callable[..., TrainedRun], capfd: pytest.CaptureFixture[str]
) -> None:
    rename_scenes(tmp_path / "scenes", [name for name in NAMES if name not in UNLISTABLE])

    run = train_tiny("run", "--data.root", str(tmp_path / "scenes")).path

    said = capfd.readouterr().err + (run / "train.log").read_text(encoding="utf-8")
    assert not CONTROL.search(said)
    assert all(not cell.startswith(tuple("=+-@")) for row in table(run) for cell in row)
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    assert page.after("Labeled images") == str(len(NAMES) + 2 - 3)


@pytest.mark.parametrize("name", UNLISTABLE, ids=lambda name: ascii(name)[:24])
def test_s11_a_file_that_no_list_can_name_is_refused_before_a_run_begins(
    name: str, tmp_path: Path, tiny_words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    rename_scenes(tmp_path / "scenes", [name])
    assert main(["train", str(tmp_path / "scenes"), *tiny_words("odd")[1:]]) == 2
    message = capsys.readouterr().err
    assert not CONTROL.search(message)
    assert repr(name)[1:-1] in message or printable(name) in message
    assert not (tmp_path / "odd" / "config.yaml").exists()
