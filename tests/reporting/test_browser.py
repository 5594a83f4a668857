"""The pages as a browser draws them: light and dark, and nothing beyond the edge of a narrow window."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semiseg.reporting import report
from semiseg.reporting.comparison import compare

PAPER = {"light": (0xF6, 0xF6, 0xF3), "dark": (0x15, 0x17, 0x1B)}
QUIET = (
    "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --hide-scrollbars"
)


@pytest.fixture
def photograph(tmp_path: Path) -> Callable[..., NDArray[np.uint8]]:
    """Return `photograph(page, scheme)`: the pixels (H, W, 3) of a page in a narrow window."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("NO BROWSER: install chromium (Debian: apt-get install chromium) to see the pages drawn")

    def photograph(page: Path, scheme: str) -> NDArray[np.uint8]:
        picture = tmp_path / f"{page.stem}-{scheme}.png"
        done = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", *QUIET.split(), f"--user-data-dir={tmp_path / 'profile'}"),
                f"--blink-settings=preferredColorScheme={'0' if scheme == 'dark' else '1'}",
                *("--window-size=500,2400", f"--screenshot={picture}", page.resolve().as_uri()),
            ],
            capture_output=True,
            timeout=180,
        )
        assert picture.is_file(), done.stderr.decode(errors="replace")[-2000:]
        with Image.open(picture) as image:
            return np.asarray(image.convert("RGB"))

    return photograph


@pytest.mark.parametrize("scheme", list(PAPER))
def test_pages_follow_light_and_dark_and_keep_to_the_window(
    scheme: str,
    photograph: Callable[..., NDArray[np.uint8]],
    finished_run: Path,
    make_run: Callable[..., Path],
    tmp_path: Path,
) -> None:
    long = ("road & path", "x" * 90)
    runs = [make_run(name, method, classes=long) for name, method in (("a" * 60, "supervised"), ("b", "fixmatch"))]
    pages = [report(finished_run), compare(runs, tmp_path / "compare.html").page]
    for page in pages:
        pixels = photograph(page, scheme)
        margins = np.concatenate([pixels[:, :8].reshape(-1, 3), pixels[:, -8:].reshape(-1, 3)])
        assert (margins == PAPER[scheme]).all(), f"{page.name} is wider than its window"
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, f"{page.name} is empty"
