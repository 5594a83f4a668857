"""The page: what was trained, how good it is, how it went, what it sees."""

from __future__ import annotations

from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from semiseg.files import whole_file
from semiseg.reporting.record import RunRecord, read_run
from semiseg.reporting.sections import curves, details, facts, footer, header, pictures, scores, tiles


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
    with whole_file(target) as draft:
        draft.write_text(html, encoding="utf-8", errors="replace")
    return target


def render(record: RunRecord) -> str:
    """Return the whole page as HTML."""
    parts = (header, tiles, facts, scores, curves, pictures, details, footer)
    template = Template(resources.files("semiseg.reporting").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{record.name} - semiseg run"), body="\n".join(part(record) for part in parts)
    )
