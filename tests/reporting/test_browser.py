"""The pages as a browser draws them: light and dark, within a narrow window, and read by keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from semiseg.reporting import report
from semiseg.reporting.comparison import compare

PAPER = {"light": "rgb(246, 246, 243)", "dark": "rgb(21, 23, 27)"}
READABLE = 4.5
"""Least contrast of text (WCAG 2.2, 1.4.3)."""

# The contrast of each piece of text with what lies behind it, where that is of one colour.
CONTRASTS = """() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
  };
  return [...document.querySelectorAll("main *")]
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((element) => !element.closest("svg, .confusion"))
    .map((element) => {
      const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), element.className + ": " + element.textContent.trim().slice(0, 40)];
    });
}"""


@pytest.fixture
def pages(finished_run: Path, make_run: Callable[..., Path], tmp_path: Path) -> list[Path]:
    """Return a report with a confusion matrix and a comparison, both with names that leave no room."""
    long = ("road & path", "x" * 90)
    names = [f"class {number}" for number in range(20)]
    quality = {
        **{"step": 20, "threshold": 0.95, "ece": 0.08, "kept": 0.6, "kept_right": 0.9, "disagreement": 0.03},
        **{"rank_agreement": 0.7, "bins": [{"pixels": 50, "right": 20, "confidence": 25.0}]},
        "classes": [{"name": name, "kept": 30, "kept_right": 27, "predicted": 0.8} for name in names],
        "images": [{"id": f"{k}.png", "predicted": 0.5, "iou": k / 10, "accuracy": 0.9, "pixels": k} for k in range(9)],
        "confusion": [[k + 1] * 20 for k in range(20)],
    }
    (finished_run / "checkpoints").mkdir()
    (finished_run / "checkpoints" / "quality.json").write_text(json.dumps(quality))
    runs = [make_run(name, method, classes=long) for name, method in (("a" * 60, "supervised"), ("b", "fixmatch"))]
    return [report(finished_run), compare(runs, tmp_path / "compare.html").page]


def opened(browser: Browser, path: Path, scheme: str) -> Page:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 500, "height": 900})
    page = context.new_page()
    page.goto(path.resolve().as_uri())
    return page


@pytest.mark.parametrize("scheme", list(PAPER))
def test_pages_follow_light_and_dark_and_can_be_read_in_both(scheme: str, browser: Browser, pages: list[Path]) -> None:
    for path in pages:
        page = opened(browser, path, scheme)
        assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == PAPER[scheme]
        found = page.evaluate(CONTRASTS)
        assert len(found) > 50
        assert [words for contrast, words in found if contrast < READABLE] == []
        page.context.close()


def test_pages_keep_to_a_narrow_window(browser: Browser, pages: list[Path]) -> None:
    for path in pages:
        page = opened(browser, path, "light")
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 500, path.name
        page.context.close()


def test_everything_is_reached_by_keyboard(browser: Browser, pages: list[Path]) -> None:
    """Each part that opens or scrolls is reached by Tab, says what it is and shows that it is reached."""
    for path in pages:
        page = opened(browser, path, "dark")
        opens = page.locator("summary, a").count()
        scrolls = page.locator("main *").evaluate_all(
            "all => all.filter((e) => /auto|scroll/.test(getComputedStyle(e).overflowX))"
            ".filter((e) => e.offsetParent && e.scrollWidth > e.clientWidth).map((e) => e.tabIndex)"
        )
        assert set(scrolls) <= {0}, "what scrolls can be reached"
        reached = 0
        while reached < 60:
            page.keyboard.press("Tab")
            name = page.evaluate("document.activeElement.tagName")
            if name == "BODY":
                break
            ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert ring != "none", name
            if name == "SUMMARY" and not reached:
                page.keyboard.press("Enter")
                assert page.evaluate("document.activeElement.parentElement.open")
            reached += 1
        assert reached >= opens
        assert reached >= len(scrolls)
        page.context.close()
