"""The published runs of UniMatch V2 and its baselines: the recipe that repeats each, how good it was, and its curve.

The figures are read from the logs that were published with the code (commit f6afb4d of LiheYoung/UniMatch-V2). Of the
systems that it is compared with there are the figures of the papers' main tables.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from semiseg.errors import ConfigError, closest


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """What one published run reached, and what it took.

    Attributes:
        name: as in the published logs.
        recipe: the recipe that repeats it; None where the package has none yet.
        table: where the paper shows it, for example `table01` or `figure5`.
        metric: `miou`, or `changed_iou` of change detection.
        best: the best figure over its epochs, of the teacher where there was one, 0 to 1.
        gpus: number of GPUs.
        hours: of training, from the median seconds of a step; evaluation comes on top. None where no log tells.
    """

    name: str
    recipe: str | None
    table: str
    metric: str
    best: float
    gpus: int
    hours: float | None


@dataclass(frozen=True, kw_only=True)
class PublishedCurve:
    """The metric of one published run.

    Attributes:
        run: its name.
        values: figures from 0 to 1 after each epoch, the first included, by model: `student` and perhaps `teacher`.
    """

    run: str
    values: Mapping[str, tuple[float, ...]]

    @property
    def judged(self) -> str:
        """The model whose figure was reported: the teacher, or the student where there was none."""
        return "teacher" if "teacher" in self.values else "student"

    def points(self, model: str) -> list[tuple[float, float]]:
        """Return (epochs done, figure) of a model; none where the run did not have it."""
        return [(float(epoch), value) for epoch, value in enumerate(self.values.get(model, ()), start=1)]

    def at(self, model: str, epoch: float) -> float | None:
        """Return a model's figure after so many epochs, between two of them on the straight line.

        None before the first epoch, after the last, and for a model that the run did not have.
        """
        values = self.values.get(model, ())
        if not 1 <= epoch <= len(values):
            return None
        whole = int(epoch)
        part = epoch - whole
        return values[whole - 1] if not part else (1 - part) * values[whole - 1] + part * values[whole]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A figure of a main table of UniMatch V1, AllSpark or SemiVL.

    Attributes:
        system: our name of the method.
        dataset: as in `data.spec`.
        split: as in `data.split`.
        encoder: our name of the encoder.
        metric: `miou`, or `changed_iou` of change detection.
        figure: the published one, 0 to 1.
        source: the arXiv number of the paper whose table it is in.
        recipe: the recipe that repeats it; None where the package has none yet.
    """

    system: str
    dataset: str
    split: str
    encoder: str
    metric: str
    figure: float
    source: str
    recipe: str | None


@cache
def headlines() -> tuple[Headline, ...]:
    """Return the figures of the main tables of the other systems."""
    return tuple(
        Headline(
            system=row["system"],
            dataset=row["dataset"],
            split=row["split"],
            encoder=row["encoder"],
            metric=row["metric"],
            figure=float(row["figure"]) / 100,
            source=row["source"],
            recipe=row["recipe"] or None,
        )
        for row in _rows("headlines.csv")
    )


@cache
def published_runs() -> Mapping[str, PublishedRun]:
    """Return every published run by name."""
    return {
        row["run"]: PublishedRun(
            name=row["run"],
            recipe=row["recipe"] or None,
            table=row["table"],
            metric=row["metric"],
            best=float(row["best"]) / 100,
            gpus=int(row["gpus"]),
            hours=float(row["hours"]) if row["hours"] else None,
        )
        for row in _rows("runs.csv")
    }


def published_curve(run: str) -> PublishedCurve:
    """Return the curve of a published run.

    Raises:
        ConfigError: there is no such run; the message names the closest.
    """
    for row in _rows("curves.csv"):
        if row["run"] == run:
            values = {
                model: tuple(float(value) / 100 for value in row[model].split()) for model in ("teacher", "student")
            }
            return PublishedCurve(run=run, values={model: found for model, found in values.items() if found})
    raise ConfigError(
        f"no published run {run!r}{closest(run, published_runs())}",
        where="published",
        remedy="see `semiseg recipes --json FILE` for the runs, or leave --published out",
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = (resources.files("semiseg.published") / name).read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())
