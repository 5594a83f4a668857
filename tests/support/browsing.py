"""The browser of the tests, and of the pictures in the docs: headless Chromium that reaches this machine alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NO_BROWSER = "NO BROWSER: install chromium (Debian: apt-get install chromium) to see the pages drawn"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"


def find_chromium() -> str | None:
    """Return the program, or None where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Start the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=[*_QUIET.split(), "--disable-component-update", "--disable-sync"]
        )
        yield browser
        browser.close()
