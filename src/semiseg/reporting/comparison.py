"""Several runs on one page: who won, how they went, class by class, and what each sees in the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.data.spec import SCORE_NAMES
from semiseg.data.spec import Score as ScoreName
from semiseg.errors import RunError
from semiseg.files import write_text
from semiseg.printable import printable
from semiseg.reporting import templating
from semiseg.reporting.charts import Chart, Line, colour, line_chart
from semiseg.reporting.likeness import cautions, obstacles, refuse_unlike
from semiseg.reporting.record import Point, RunRecord, read_run
from semiseg.reporting.sections import Tile
from semiseg.reporting.settings import Setting, best_score, group
from semiseg.reporting.side_by_side import SideBySide, side_by_side
from semiseg.reporting.tables import classes, facts, summary
from semiseg.reporting.verdict import Verdict, verdict
from semiseg.reporting.wording import counted, difference, points

_NAME = "compare.html"
_GENERATOR = "semiseg compare"
"""What every page of a comparison says it was made by; a file that does not is somebody else's."""
_BEGINNING = 2000
"""Characters of a page within which that is found."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs held against each other.

    Attributes:
        page: the page that was written.
        settings: the runs, those together that differ by their seed alone; the others are held against the first.
        score: what the runs are judged by, `miou` or `changed_iou`.
        verdict: who won, and what the answer is worth.
        obstacles: why the scores cannot be compared; none where they can.
        cautions: what else is to be known before comparing.
        pictures: the same images by every run.
    """

    page: Path
    settings: tuple[Setting, ...]
    score: ScoreName
    verdict: Verdict
    obstacles: tuple[str, ...]
    cautions: tuple[str, ...]
    pictures: SideBySide

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values: scores from 0 to 1, seconds, counts; null where nothing is known."""
        return {
            "page": str(self.page),
            "score": self.score,
            "headline": self.verdict.headline,
            "details": list(self.verdict.details),
            "obstacles": list(self.obstacles),
            "cautions": list(self.cautions),
            "settings": [summary(setting, self.settings[0], self.pictures.parameters) for setting in self.settings],
        }


def compare(runs: Sequence[Path | str], out: Path | str | None = None, *, device: str = "auto") -> Comparison:
    """Write a page that compares runs, and return what it says.

    The page is one file that asks the network for nothing. Runs that differ by their seed alone are put together. Each
    run's model predicts a few val images, if they can be read.

    Args:
        runs: two run directories or more, of the same classes; the first is what the others are held against.
        out: the page, a name ending in `.html`, or a folder for `compare.html`; default: the folder of the first run.
            A page of an earlier comparison is replaced.
        device: where the models predict: auto, cpu, cuda or cuda:N.

    Raises:
        RunError: not a run, fewer than two, one of them twice, runs of other classes, or a file at `out` that is no
            comparison.
        ConfigError: no such device here.
        ModelError: the card of a run's model is damaged.
        FileError: no room for the page.
    """
    page = _page(Path(runs[0]).resolve().parent if out is None and runs else Path(out or "."))
    records = [read_run(Path(run)) for run in runs]
    refuse_unlike(records)
    settings = group(records)
    against = obstacles(records)
    score: ScoreName = next((record.score for record in records if record.models()), "miou")
    found = Comparison(
        page=page,
        settings=tuple(settings),
        score=score,
        verdict=verdict(settings, SCORE_NAMES[score], against),
        obstacles=tuple(against),
        cautions=tuple(cautions(records)),
        pictures=side_by_side(_named(settings), device),
    )
    write_text(page, render(found))
    return found


def lines(found: Comparison) -> list[str]:
    """Return what a comparison says in a few lines for a terminal, the page last."""
    width = max(len(printable(setting.label)) for setting in found.settings)
    figures = [
        f"{printable(setting.label):{width}}  {setting.best.text(points):>12} {SCORE_NAMES[found.score]}"
        for setting in found.settings
    ]
    said = (*found.verdict.details, *found.cautions, *found.pictures.notes)
    return [*figures, *map(printable, (found.verdict.headline, *said)), str(found.page)]


def _page(out: Path) -> Path:
    """Return the file to write, and refuse to replace what is no comparison."""
    page = out if out.suffix.lower() == ".html" and not out.is_dir() else out / _NAME
    if page.exists():
        try:
            with page.open(encoding="utf-8", errors="replace") as file:
                ours = f'content="{_GENERATOR}"' in file.read(_BEGINNING)
        except OSError:
            ours = False
        if not ours:
            raise RunError(
                "there is something else where the comparison would go",
                where=page,
                remedy="name another place with --out FOLDER or --out FILE.html",
            )
    return page


def render(found: Comparison) -> str:
    """Return the whole page as HTML."""
    runs = [run for setting in found.settings for run in setting.runs]
    return templating.render(
        "compare.html",
        title=f"{found.verdict.headline} - semiseg compare",
        generator=_GENERATOR,
        subtitle=_subtitle(runs),
        found=found,
        styles=[colour(place) for place, _ in enumerate(found.settings, start=1)],
        tiles=_tiles(found),
        charts=_charts(found),
        tables=facts(found.settings, SCORE_NAMES[found.score], found.pictures.parameters),
        classes=classes(found.settings),
        runs=[(name, run, points(best_score(run))) for name, run in _named(found.settings).items()],
    )


def _subtitle(runs: Sequence[RunRecord]) -> str:
    first = runs[0]
    counts = [(first.environment.get("val"), "validation image")]
    data = first.setting("data.spec") or first.setting("data.root")
    said = [
        counted(len(runs), "run"),
        data,
        *(counted(count, noun) for count, noun in counts if isinstance(count, int)),
    ]
    return " · ".join(part for part in said if part)


def _named(settings: Sequence[Setting]) -> dict[str, RunRecord]:
    """Call each run by its setting, and where that is not enough, by its seed or its directory."""
    named: dict[str, RunRecord] = {}
    for setting in settings:
        for run in setting.runs:
            name = setting.label if len(setting.runs) == 1 else f"{setting.label}, seed {run.setting('seed')}"
            named[f"{name}, {run.name}" if name in named else name] = run
    return named


def _tiles(found: Comparison) -> list[Tile]:
    first = found.settings[0].best.mean
    made = []
    for setting in found.settings:
        best = setting.best
        parts = [SCORE_NAMES[found.score]]
        if best.spread is not None:
            parts.append(f"± {points(best.spread)}, {counted(len(best.values), 'run')}")
        if setting is not found.settings[0] and best.mean is not None and first is not None and not found.obstacles:
            parts.append(difference(best.mean - first))
        made.append(Tile(label=setting.label, value=points(best.mean), detail=" · ".join(parts)))
    return made


def _charts(found: Comparison) -> list[Chart]:
    """Draw the scores by step, and by seconds of training where they are known; one colour for each setting."""
    name = SCORE_NAMES[found.score]
    by_step = line_chart(
        f"{name} by step", _lines(found, lambda run, point: float(point.step)), x_name="step", show=points
    )
    by_time = None
    if all(run.seconds() is not None for setting in found.settings for run in setting.runs):
        by_time = line_chart(
            f"{name} by time of training",
            _lines(found, lambda run, point: run.seconds(point.step) or 0.0),
            x_name="seconds, evaluations left out",
            show=points,
        )
    return [chart for chart in (by_step, by_time) if chart]


def _lines(found: Comparison, across: Callable[[RunRecord, Point], float]) -> list[Line]:
    lines = []
    for place, setting in enumerate(found.settings, start=1):
        for run in setting.runs:
            scores = run.metrics.get(f"{run.models()[0]}/{run.score}", ()) if run.models() else ()
            lines.append(
                Line(
                    name=setting.label,
                    points=[(across(run, point), point.value) for point in scores],
                    series=place,
                    value=setting.best.text(points),
                    keyed=run is setting.runs[0],
                )
            )
    return lines
