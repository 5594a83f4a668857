"""How far a verb is and how long it still takes, for whoever waits for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from semiseg.engine.progress import Ticker


@contextmanager
def shown_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of a verb on standard error: a bar on a terminal, else a line now and then.

    Args:
        what: what is counted, for example `images`.

    Yields:
        A function that takes the number done and the number of all; the first call says what was done before.
    """
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield Ticker(what)
        return
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left")
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, count: int) -> None:
            if bar.tasks[0].total is None:
                bar.reset(task, total=count, completed=done)
            bar.update(task, completed=done)
            if done >= count:
                bar.stop()  # what follows may say something itself

        yield show
