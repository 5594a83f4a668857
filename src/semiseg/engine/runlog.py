"""What a run says: the console, `train.log`, `metrics.csv`, `pseudo_labels.csv` and TensorBoard."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

from semiseg.engine.class_windows import HEADER, ClassWindow
from semiseg.engine.rundir import RunDirectory
from semiseg.engine.services import Courier
from semiseg.errors import FileError
from semiseg.files import whole_file
from semiseg.printable import printable
from semiseg.published import PublishedCurve

_METRICS = ("step", "epoch", "name", "value")


class RunLog:
    """The voice of one run; a context manager. Only the main process speaks and writes.

    A file that cannot be written (a full disk, a folder without the right to) is named once, and the run goes on.
    """

    def __init__(
        self,
        directory: RunDirectory,
        *,
        active: bool,
        shown: bool = True,
        resumed_step: int | None = None,
        evaluated: bool = True,
    ) -> None:
        """Open the files.

        Args:
            directory: the run.
            active: whether this process speaks.
            shown: whether also on the terminal.
            resumed_step: for a resumed run, the steps done; later rows of the tables are removed, as they will be
                written again.
            evaluated: whether an evaluation after that step has been done, too.
        """
        self.active = active
        self._console = _Screen(file=sys.stderr, highlight=False, quiet=not (active and shown))
        self._status_shown = False
        self._failing: set[str] = set()
        self._diary: _Diary | None = None
        self._table: _Table | None = None
        self._classes: _Table | None = None
        self._class_file = directory.pseudo_labels
        self._couriers: list[Courier] = []
        self._board: _Board | None = None
        if not active:
            return
        with self._doing_without("train.log"):
            self._diary = _Diary(directory.log)
        with self._doing_without("metrics.csv"):
            if resumed_step is not None:
                rewind(directory.metrics, resumed_step, evaluated=evaluated)
            self._table = _Table(directory.metrics, _METRICS)
        with self._doing_without("pseudo_labels.csv"):
            if resumed_step is not None:
                rewind_classes(directory.pseudo_labels, resumed_step)
        with self._doing_without("tensorboard"):
            self._board = _Board(directory.tensorboard, resumed_step)

    def __enter__(self) -> Self:
        """Return the log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        for courier in self._couriers:
            courier.close()
        self._clear_status()
        for name, part in (
            *(("train.log", self._diary), ("metrics.csv", self._table)),
            *(("pseudo_labels.csv", self._classes), ("tensorboard", self._board)),
        ):
            if part is not None:
                with self._doing_without(name):
                    part.close()

    def send_to(self, couriers: Sequence[Courier]) -> None:
        """Send all numbers from now on to services, too."""
        self._couriers += couriers

    def say(self, text: str) -> None:
        """Print a line and keep it in `train.log`; a line break in it is shown as such, and is none."""
        if self.active:
            self._clear_status()
            self._print(printable(text), soft_wrap=True)
            if self._diary is not None:
                with self._doing_without("train.log"):
                    self._diary.write(printable(text))

    def status(self, text: str) -> None:
        """Show a line that the next one replaces; where there is no terminal, print it."""
        if not self._console.is_terminal:
            self._print(printable(text), soft_wrap=True)
            return
        self._clear_status()
        self._print(printable(text), overflow="ellipsis", no_wrap=True, end="")
        self._status_shown = self.active

    def numbers(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Write numbers to `metrics.csv` and TensorBoard.

        Args:
            step: optimizer steps done.
            epoch: the same in epochs.
            values: by name, for example `train/loss` or `teacher/miou`. The word before the slash is ours, so that no
                spreadsheet takes the name of a class, such as `=cmd()`, for a formula.
        """
        values = {printable(name): float(value) for name, value in values.items()}
        if self._table is not None:
            with self._doing_without("metrics.csv"):
                self._table.write((step, f"{epoch:.4f}", name, repr(value)) for name, value in values.items())
        if self._board is not None:
            with self._doing_without("tensorboard"):
                self._board.write(step, values)
        for courier in self._couriers:
            courier.write(step, {**values, "epoch": epoch})

    def classes(self, window: ClassWindow, names: Sequence[str]) -> None:
        """Write the shares of the classes to `pseudo_labels.csv`; a run that has none makes no such file."""
        if not self.active:
            return
        with self._doing_without("pseudo_labels.csv"):
            self._classes = self._classes or _Table(self._class_file, HEADER)
            self._classes.write(window.rows([printable(name) for name in names]))

    def published(self, curve: PublishedCurve, score: str, steps_per_epoch: int) -> None:
        """Give TensorBoard a published run as a run of its own, whose curves lie under ours in the same charts.

        Args:
            curve: the published run.
            score: what our figure is called.
            steps_per_epoch: of our run.
        """
        if self._board is not None:
            with self._doing_without("tensorboard"):
                self._board.write_published(curve, score, steps_per_epoch)

    @contextmanager
    def _doing_without(self, name: str) -> Iterator[None]:
        """Name a file that cannot be written, the first time, and go on."""
        try:
            yield
        except (OSError, FileError) as error:
            if name not in self._failing:
                self._failing.add(name)
                reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
                self.say(f"{name} cannot be written ({reason or error}): the run goes on without it")

    def _print(self, text: str, **options: Any) -> None:
        """Print, as long as somebody listens."""
        try:
            self._console.print(Text(text), **options)
        except OSError:
            self._console.quiet = True

    def _clear_status(self) -> None:
        if self._status_shown:
            self._status_shown = False
            with suppress(OSError):
                self._console.file.write("\r\x1b[2K")


class _Screen(Console):
    """Falls silent when nobody listens any more, where rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class _Diary:
    """`train.log`: what was said, with the time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self.close = self._file.close

    def write(self, text: str) -> None:
        self._file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}\n")
        self._file.flush()


class _Table:
    """`metrics.csv` and its like: rows that are added to, below a header."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self._file = path.open("a", encoding="utf-8", newline="")
        self.close = self._file.close
        self._rows = csv.writer(self._file)
        if self._file.tell() == 0:
            self._rows.writerow(header)
            self._file.flush()

    def write(self, rows: Iterable[Sequence[object]]) -> None:
        self._rows.writerows(rows)
        self._file.flush()


class _Board:
    """TensorBoard's files; what an earlier session wrote after the step that is resumed from is dropped."""

    def __init__(self, folder: Path, resumed_step: int | None) -> None:
        self._folder = folder
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._writer = SummaryWriter(str(folder), purge_step=None if resumed_step is None else resumed_step + 1)
        self.close = self._writer.close

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def write_published(self, curve: PublishedCurve, score: str, steps_per_epoch: int) -> None:
        folder = self._folder / "published"
        if folder.exists():
            return
        with SummaryWriter(str(folder)) as board:
            for model in curve.values:
                for epoch, value in curve.points(model):
                    board.add_scalar(f"{model}/{score}", value, round(epoch * steps_per_epoch))


def rewind(metrics: Path, step: int, *, evaluated: bool = True) -> None:
    """Drop the rows after `step` steps, and of an evaluation there that will come again, in one step for readers."""
    _keep_rows(metrics, _METRICS, lambda row: _stays(row, step, evaluated))


def rewind_classes(table: Path, step: int) -> None:
    """Drop the rows of windows that ended after `step` steps, in one step for readers."""
    _keep_rows(table, HEADER, lambda row: int(row[0]) <= step)


def _keep_rows(table: Path, header: Sequence[str], stays: Callable[[Sequence[str]], bool]) -> None:
    if not table.exists():
        return
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    with whole_file(table) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(row for row in rows if len(row) == len(header) and stays(row))


def _stays(row: Sequence[str], step: int, evaluated: bool) -> bool:
    return int(row[0]) < step or (int(row[0]) == step and (evaluated or row[2].startswith("train/")))
