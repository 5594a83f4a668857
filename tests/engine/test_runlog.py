from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from tensorboard.summary.writer import event_file_writer  # type: ignore[import-untyped]

from semiseg.engine.rundir import RunDirectory
from semiseg.engine.runlog import RunLog, rewind


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def rows(directory: RunDirectory) -> list[list[str]]:
    with directory.metrics.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(autouse=True)
def _first_files_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Number TensorBoard's files from 0: it reads those of one second by name, and `.10` stands before `.9`."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def write_steps(directory: RunDirectory, steps: range, resumed_step: int | None = None) -> None:
    with RunLog(directory, active=True, resumed_step=resumed_step) as log:
        for step in steps:
            log.numbers(step, step / 4, {"train/loss": step / 3, "train/lr": 1e-5})


def board(directory: RunDirectory) -> list[int]:
    accumulator = EventAccumulator(str(directory.tensorboard))
    accumulator.Reload()
    return [event.step for event in accumulator.Scalars("train/loss")]


def test_what_is_said_is_printed_and_kept_with_its_time(
    directory: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLog(directory, active=True) as log:
        log.say("epoch [1/2] of [bold]camvid[/bold] :smile: " + "x" * 300)
        assert directory.log.read_text().count("\n") == 1, "written at once, not at the end"
        log.status("step 3")
    captured = capsys.readouterr()
    assert captured.out == "", "standard output is for results"
    assert captured.err == "epoch [1/2] of [bold]camvid[/bold] :smile: " + "x" * 300 + "\nstep 3\n"
    time, text = directory.log.read_text().split("  ", 1)
    assert text == "epoch [1/2] of [bold]camvid[/bold] :smile: " + "x" * 300 + "\n"
    assert len(time) == len("2026-01-31 12:00:00")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_status_line_replaces_another(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "30")
    with RunLog(directory, active=True) as log:
        log.status("step 1 " + "long " * 30)
        log.status("step 2")
        log.say("evaluated")
    erase = "\r\x1b[2K"
    first, second, said = terminal.getvalue().split(erase)
    assert first.startswith("step 1 long")
    assert len(first) <= 30, "a line that wraps cannot be erased"
    assert second == "step 2"
    assert said == "evaluated\n"
    assert "step" not in directory.log.read_text()


def test_numbers_are_rows_that_lose_no_digit(directory: RunDirectory) -> None:
    write_steps(directory, range(1, 3))
    assert rows(directory) == [
        ["step", "epoch", "name", "value"],
        ["1", "0.2500", "train/loss", repr(1 / 3)],
        ["1", "0.2500", "train/lr", "1e-05"],
        ["2", "0.5000", "train/loss", repr(2 / 3)],
        ["2", "0.5000", "train/lr", "1e-05"],
    ]
    assert board(directory) == [1, 2]


def test_names_with_commas_and_quotes_stay_one_field(directory: RunDirectory) -> None:
    with RunLog(directory, active=True) as log:
        log.numbers(1, 0.1, {'student/iou/car, "parked"': 0.5})
    assert rows(directory)[1] == ["1", "0.1000", 'student/iou/car, "parked"', "0.5"]


def test_rows_are_on_disk_before_the_run_ends(directory: RunDirectory) -> None:
    with RunLog(directory, active=True) as log:
        assert rows(directory) == [["step", "epoch", "name", "value"]], "whoever is killed now leaves a table"
        log.numbers(1, 0.1, {"train/loss": 1.0})
        assert len(rows(directory)) == 2


def test_a_resumed_run_writes_its_later_rows_again(directory: RunDirectory) -> None:
    write_steps(directory, range(1, 8))
    undisturbed = rows(directory)
    write_steps(directory, range(5, 8), resumed_step=4)
    assert rows(directory) == undisturbed
    assert board(directory) == list(range(1, 8)), "also TensorBoard keeps the steps done, each once"


def test_a_run_that_resumes_from_nothing_starts_its_table_again(directory: RunDirectory) -> None:
    write_steps(directory, range(1, 4))
    write_steps(directory, range(1, 3), resumed_step=0)
    assert [row[0] for row in rows(directory)] == ["step", "1", "1", "2", "2"]
    assert board(directory) == [1, 2]


@pytest.mark.parametrize("torn", ["", "ste", "step,epoch,name,value\r\n"])
def test_a_table_that_a_kill_left_without_rows_gets_its_header(directory: RunDirectory, torn: str) -> None:
    directory.metrics.write_text(torn)
    write_steps(directory, range(1, 2), resumed_step=0)
    assert [row[0] for row in rows(directory)] == ["step", "1", "1"]


@pytest.mark.parametrize("torn", ["1", "12,", "12,3.0000,train/lo", "12,3.0000,train/loss,0.33"])
def test_a_torn_last_row_goes_with_the_steps_that_are_repeated(tmp_path: Path, torn: str) -> None:
    metrics = tmp_path / "metrics.csv"
    metrics.write_text(f"step,epoch,name,value\n10,2.5000,train/loss,0.5\n11,2.7500,train/loss,0.4\n{torn}")
    rewind(metrics, 10)
    assert metrics.read_text().split() == ["step,epoch,name,value", "10,2.5000,train/loss,0.5"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_only_the_main_process_speaks_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(RunDirectory(tmp_path), active=False, resumed_step=3) as log:
        log.say("hello")
        log.status("hello")
        log.numbers(1, 0.1, {"train/loss": 1.0})
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_the_files_are_closed_when_the_run_fails(directory: RunDirectory) -> None:
    def run() -> None:
        with RunLog(directory, active=True) as log:
            log.numbers(1, 0.1, {"train/loss": 1.0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert board(directory) == [1], "TensorBoard's file is written in the background, so only closing completes it"
