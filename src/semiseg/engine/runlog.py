"""What a run says: the console, `train.log`, `metrics.csv` and TensorBoard."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

from semiseg.engine.rundir import RunDirectory
from semiseg.files import whole_file
from semiseg.printable import printable
from semiseg.published import PublishedCurve

_HEADER = ("step", "epoch", "name", "value")


class RunLog:
    """The voice of one run; a context manager. Only the main process speaks and writes."""

    def __init__(
        self, directory: RunDirectory, *, active: bool, resumed_step: int | None = None, evaluated: bool = True
    ) -> None:
        """Open the files.

        Args:
            directory: the run.
            active: whether this process speaks.
            resumed_step: for a resumed run, the steps done; later rows of `metrics.csv` are removed, as they will be
                written again.
            evaluated: whether an evaluation after that step has been done, too.
        """
        self.active = active
        self._console = Console(file=sys.stderr, highlight=False, quiet=not active)
        self._status_shown = False
        if not active:
            return
        self._tensorboard = directory.tensorboard
        self._text = directory.log.open("a", encoding="utf-8")
        if resumed_step is not None:
            rewind(directory.metrics, resumed_step, evaluated=evaluated)
        self._table = directory.metrics.open("a", encoding="utf-8", newline="")
        self._rows = csv.writer(self._table)
        if self._table.tell() == 0:
            self._rows.writerow(_HEADER)
            self._table.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # TensorBoard drops what an earlier session wrote from this step on.
            purge_step = None if resumed_step is None else resumed_step + 1
            self._board = SummaryWriter(str(directory.tensorboard), purge_step=purge_step)

    def __enter__(self) -> Self:
        """Return the log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        if self.active:
            self._clear_status()
            self._text.close()
            self._table.close()
            self._board.close()

    def say(self, text: str) -> None:
        """Print a line and keep it in `train.log`; a line break in it is shown as such, and is none."""
        if self.active:
            self._clear_status()
            self._console.print(Text(printable(text)), soft_wrap=True)
            self._text.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {printable(text)}\n")
            self._text.flush()

    def status(self, text: str) -> None:
        """Show a line that the next one replaces; where there is no terminal, print it."""
        if not self.active:
            return
        line = Text(printable(text))
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)
            return
        self._clear_status()
        self._console.print(line, overflow="ellipsis", no_wrap=True, end="")
        self._status_shown = True

    def numbers(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Write numbers to `metrics.csv` and TensorBoard.

        Args:
            step: optimizer steps done.
            epoch: the same in epochs.
            values: by name, for example `train/loss` or `teacher/miou`. The word before the slash is ours, so that no
                spreadsheet takes the name of a class, such as `=cmd()`, for a formula.
        """
        if not self.active:
            return
        for name, value in ((printable(name), value) for name, value in values.items()):
            self._rows.writerow((step, f"{epoch:.4f}", name, repr(float(value))))
            self._board.add_scalar(name, value, step)
        self._table.flush()

    def published(self, curve: PublishedCurve, score: str, steps_per_epoch: int) -> None:
        """Give TensorBoard a published run as a run of its own, whose curves lie under ours in the same charts.

        Args:
            curve: the published run.
            score: what our figure is called.
            steps_per_epoch: of our run.
        """
        folder = self._tensorboard / "published" if self.active else None
        if folder is None or folder.exists():
            return
        with SummaryWriter(str(folder)) as board:
            for model in curve.values:
                for epoch, value in curve.points(model):
                    board.add_scalar(f"{model}/{score}", value, round(epoch * steps_per_epoch))

    def _clear_status(self) -> None:
        if self._status_shown:
            self._console.file.write("\r\x1b[2K")
            self._status_shown = False


def rewind(metrics: Path, step: int, *, evaluated: bool = True) -> None:
    """Drop the rows after `step` steps, and of an evaluation there that will come again, in one step for readers."""
    if not metrics.exists():
        return
    with metrics.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    with whole_file(metrics) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        writer.writerows(row for row in rows if len(row) == len(_HEADER) and _stays(row, step, evaluated))


def _stays(row: Sequence[str], step: int, evaluated: bool) -> bool:
    return int(row[0]) < step or (int(row[0]) == step and (evaluated or row[2].startswith("train/")))
