"""The page: what was trained, how good it is, how it went, what it sees."""

from __future__ import annotations

import shlex
from pathlib import Path

from semiseg.files import write_text
from semiseg.reporting import templating
from semiseg.reporting.record import RunRecord, read_run
from semiseg.reporting.sections import charts, facts, scores, subtitle, tiles
from semiseg.reporting.sheets import sheet, sheets
from semiseg.reporting.slices import slices
from semiseg.reporting.trust import trust


def report(run: Path | str) -> Path:
    """Write `report.html` into a run directory, finished or not, and return its path.

    The page is one file that asks the network for nothing: style, charts and pictures are inside. An existing report is
    replaced in one move.

    Args:
        run: the run directory.

    Raises:
        RunError: not a run directory, or a damaged file in it.
        FileError: no room for the page.
        ModelError: the card of its model is damaged.
    """
    run = Path(run)
    html = render(read_run(run))
    target = run / "report.html"
    write_text(target, html)
    return target


def render(record: RunRecord) -> str:
    """Return the whole page as HTML."""
    return templating.render(
        "report.html",
        generator="semiseg report",
        title=f"{record.name} - semiseg run",
        name=record.name,
        subtitle=subtitle(record),
        tiles=tiles(record),
        facts=facts(record),
        command=str(record.environment.get("command") or ""),
        scores=scores(record),
        charts=charts(record),
        twin=str(record.twin.get("headline") or ""),
        twin_details=_texts(record.twin.get("details")),
        distilled=str(record.distilled.get("headline") or ""),
        distilled_details=_texts(record.distilled.get("details")),
        trust=trust(record),
        slices=slices(record.quality),
        extremes=sheet(record.extremes) if record.extremes else None,
        sheets=sheets(record.samples),
        sample_count=len(record.samples),
        environment=record.environment,
        repeat=_repeated(record),
        config_text=record.config_text,
    )


def _repeated(record: RunRecord) -> str:
    """Return the command that trains the same once more, from the folder that holds the run."""
    return shlex.join(["semiseg", "train", f"{record.name}/config.yaml", "--run.name", f"{record.name}-again"])


def _texts(value: object) -> list[str]:
    return [said for said in value if isinstance(said, str)] if isinstance(value, list) else []
