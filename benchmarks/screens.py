"""Take the pictures of the docs: report, comparison and app, in the browser of the tests.

python -m benchmarks.screens runs/demo/unimatch_v2 runs/demo/labeled_only docs/screens
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from browsing import opened_browser

from semiseg.app import opened_app
from semiseg.reporting import report
from semiseg.reporting.comparison import compare
from semiseg.suggestion import suggest


@contextmanager
def opened_page(browser: Browser, address: str, *, dark: bool = False, height: int = 900) -> Iterator[Page]:
    """Open an address in a window of 1240 pixels."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": 1240, "height": height}, color_scheme=scheme)
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def keep(page: Page, path: Path) -> None:
    """Keep what the window shows."""
    page.mouse.move(0, 0)
    page.screenshot(path=path)
    with Image.open(path) as image:
        image.convert("RGB").save(path, optimize=True)
    print(path)


def take_pages(browser: Browser, run: Path, other: Path, out: Path, folder: Path) -> None:
    """Take the report and the comparison."""
    with opened_page(browser, report(run).resolve().as_uri()) as page:
        keep(page, out / "report.png")
    with opened_page(browser, report(run).resolve().as_uri(), dark=True) as page:
        page.get_by_role("heading", name="How far to trust it").evaluate("heading => heading.scrollIntoView()")
        keep(page, out / "report_dark.png")
    with opened_page(browser, compare([other, run], folder / "compare.html").page.resolve().as_uri()) as page:
        keep(page, out / "compare.png")
        page.get_by_role("heading", name="The same images").evaluate("heading => heading.scrollIntoView()")
        keep(page, out / "compare_images.png")


def take_app(browser: Browser, address: str, out: Path) -> None:
    """Take the app: a picture with its mask, two models side by side, and the queue."""
    with opened_page(browser, address) as page:
        come_in(page)
        keep(page, out / "app.png")
        page.click("#to-queue")
        page.locator("figcaption", has_text="sure").first.wait_for()
        page.keyboard.press("a")
        page.locator("#entry-place", has_text="2 of").wait_for()
        page.select_option("#model", "model")
        page.locator("#threshold").fill("40")
        page.locator("#status:empty").wait_for(state="attached")
        page.locator("figcaption", has_text="sure").first.wait_for()
        keep(page, out / "app_queue.png")
    with opened_page(browser, address, dark=True) as page:
        come_in(page)
        page.select_option("#other", index=2)
        page.locator("#facts", has_text="differ").wait_for()
        page.keyboard.press("l")
        keep(page, out / "app_compare.png")


def come_in(page: Page) -> None:
    """Wait until the page shows the third val image."""
    page.locator("#examples button").nth(2).click()
    page.wait_for_timeout(1000)
    page.locator("figcaption", has_text="sure").first.wait_for()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run")
    parser.add_argument("other", type=Path, help="another one on the same data, which it is compared with")
    parser.add_argument("out", type=Path, help="the folder of the pictures")
    parser.add_argument(
        "--queue", type=Path, help="folder of `semiseg data suggest`; default: six images are suggested"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name, opened_browser() as browser:
        folder = Path(name)
        take_pages(browser, options.run, options.other, options.out, folder)
        if options.queue:
            shutil.copytree(options.queue, folder / "suggested")
        else:
            suggest(options.run, folder / "suggested", budget=6)
        with opened_app(options.run, [options.other], folder / "suggested", port=0) as app:
            serving = threading.Thread(target=app.serve)
            serving.start()
            try:
                take_app(browser, app.url, options.out)
            finally:
                app.stop()
                serving.join()


if __name__ == "__main__":
    main()
