"""The documentation as a site, built strictly: a link that leads nowhere fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for library in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(library, reason=f"NO DOCS WERE BUILT: {library} is missing (the extra docs, `make install`)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Asked(HTMLParser):
    """Collects what a page loads of itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe"):
            self.found.append(values.get("src") or "")
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.found.append(values.get("href") or "")


def test_every_page_is_there_and_asks_no_other_server(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index", "contributing", "security", "changelog"}
    for page in pages:
        asked = Asked((site / f"{page}.html").read_text(encoding="utf-8")).found
        assert [address for address in asked if re.match(r"(https?:)?//", address)] == []


def test_search_knows_pages_and_functions(site: Path) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    places = {entry["location"] for entry in entries}
    assert {"faq.html", "api.html#semiseg.api.train", "unimatch.html"} <= places


def test_marks_for_the_tests_are_not_shown(site: Path) -> None:
    assert "<!-- run" not in (site / "ten-minutes.html").read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation(site: Path) -> None:
    told = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f": {path.name}" not in told] == []


def links() -> Iterator[tuple[Path, str]]:
    """Yield the links of all pages that lead into the repository."""
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                yield page, target


def test_links_lead_somewhere_on_a_code_host_too() -> None:
    assert [f"{page.name}: {target}" for page, target in links() if not (page.parent / target).exists()] == []
