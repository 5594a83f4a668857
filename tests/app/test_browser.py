"""The app as a person uses it, in a browser: by mouse, by keyboard, with files that are none, under foreign names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from semiseg.app import App
from semiseg.data.palette import default_palette
from semiseg.models import ModelCard, ModelConfig, build_segmenter, save_model

expect.set_options(timeout=60_000)  # a busy machine takes its time


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a page that fails the test when a script fails or the policy of the page is broken."""
    context = browser.new_context(viewport={"width": 1240, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if "Content Security Policy" in message.text else None)
    yield page
    context.close()
    assert said == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "<img src=x onerror=alert(1)>.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
    return path


def come_in(page: Page, app: App) -> None:
    page.goto(app.url)
    expect(page.locator("body[data-ready=yes]")).to_be_visible()
    expect(page.locator("#classes label").first).to_be_visible()


def pixels(page: Page, number: int = 0) -> list[int]:
    """Return the pixels of the n-th canvas."""
    return (
        page.locator("canvas")
        .nth(number)
        .evaluate("canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]")
    )


def test_a_dropped_picture_is_shown_with_mask_confidence_and_classes(
    page: Page, served: Callable[..., App], photo: Path
) -> None:
    come_in(page, served())
    assert page.url.endswith("/"), "the key does not stay in the address"
    page.set_input_files("#files", photo)
    expect(page.locator("#facts")).to_contain_text("60 x 40 pixels")
    expect(page.locator("canvas").nth(1)).to_have_attribute("aria-label", f"teacher, {photo.name}")
    assert pixels(page, 0) != pixels(page, 1)
    shares = page.locator("#classes .share").all_text_contents()
    assert sum(float(share.split()[0]) for share in shares if share != "-") == pytest.approx(100, abs=0.3)
    expect(page.locator("figcaption").nth(1)).to_contain_text(re.compile(r"\d+ % sure"))
    with page.expect_download() as download:
        page.click("#save")
    with Image.open(download.value.path()) as mask:
        assert (mask.size, mask.mode, mask.info["Software"]) == ((60, 40), "P", "semiseg predict")


def test_overlays_classes_and_layers_can_be_switched(page: Page, served: Callable[..., App]) -> None:
    come_in(page, served())
    plain, tinted = pixels(page, 0), pixels(page, 1)
    assert tinted != plain
    page.click("#none")
    assert pixels(page, 1) == plain
    page.locator("#classes input").first.check()
    expect(page.locator("#classes input:checked")).to_have_count(1)
    assert pixels(page, 1) != plain
    page.click("#all")
    assert pixels(page, 1) == tinted
    page.locator("#opacity").fill("0")
    assert pixels(page, 1) == plain
    page.locator("#opacity").fill("55")
    page.locator("label", has_text="Confidence").click()
    assert pixels(page, 1) not in (plain, tinted)
    page.locator("#threshold").fill("100")
    assert pixels(page, 1) == plain


def test_teacher_student_and_another_run_are_compared(
    page: Page, served: Callable[..., App], tiny_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "friend").symlink_to(tiny_run)
    come_in(page, served(others=[tmp_path / "friend"]))
    labels = page.locator("#model option").all_text_contents()
    assert [label.split()[0] for label in labels[:2]] == ["teacher", "student"]
    assert len(labels) == 3
    page.select_option("#other", "other1")
    expect(page.locator("#facts")).to_contain_text("the two differ in 0.0 % of the pixels")
    page.locator("label", has_text="Difference").click()
    assert pixels(page, 0) == pixels(page, 1)
    page.select_option("#other", "student")
    expect(page.locator("figcaption b").nth(1)).to_have_text("student")


def test_pseudo_labels_are_accepted_and_rejected_by_keyboard_alone(
    page: Page, served: Callable[..., App], queue: Path
) -> None:
    come_in(page, served(queue=queue))
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#to-queue")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#entry-place")).to_contain_text("1 of 3")
    expect(page.locator("#entry-reasons li")).to_have_text("<img src=x onerror=alert(1)> far from every labeled image")
    expect(page.locator("figcaption").nth(1)).to_contain_text("sure")
    page.keyboard.press("a")
    expect(page.locator("#entry-place")).to_contain_text("2 of 3")
    page.keyboard.press("r")
    expect(page.locator("#entry-place")).to_contain_text("3 of 3")
    expect(page.locator("#tally")).to_have_text("1 accepted, 1 rejected.")
    assert len((queue / "accepted.txt").read_text().splitlines()) == 1
    expect(page.locator("#command")).to_contain_text("--data.accept_predicted true")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#reject")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("u")
    expect(page.locator("#tally")).to_have_text("1 accepted, 0 rejected.")


def test_a_pair_is_dropped_one_after_the_other_and_can_be_swapped(
    page: Page, served: Callable[..., App], photo: Path, tmp_path: Path
) -> None:
    network = ModelConfig(encoder="vit_nano", decoder="dpt", weights="random")
    card = ModelCard(classes=("same", "new"), palette=default_palette(2), crop=32, frames=2, model=network)
    save_model(tmp_path / "model", build_segmenter(network, 2, 2), card)
    page.goto(served(tmp_path / "model").url)
    expect(page.locator("#drop")).to_contain_text("Drop two pictures of one place")
    page.set_input_files("#files", photo)
    expect(page.locator("#drop")).to_contain_text("Now the later picture")
    Image.new("RGB", (60, 40)).save(tmp_path / "later.png")
    page.set_input_files("#files", tmp_path / "later.png")
    expect(page.locator("figcaption b")).to_have_text(["before", "after", "model"])
    assert set(pixels(page, 1)) == {0, 255}, "the later picture is black"
    page.click("#swap")
    expect(page.locator("figcaption b")).to_have_text(["before", "after", "model"])
    expect(page.locator("#status")).to_be_empty()
    assert set(pixels(page, 0)) == {0, 255}
    Image.new("RGB", (61, 40)).save(tmp_path / "other.png")
    page.set_input_files("#files", [photo, tmp_path / "other.png"])
    expect(page.locator("#error")).to_contain_text("Frames of different sizes: 60 x 40, 61 x 40")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("broken.png", b"\x89PNG\r\n\x1a\nno more", "Unreadable image"),
        ("words.txt", b"hello", ".txt is no image"),
        ("cut.jpg", b"", "Unreadable image"),
    ],
)
def test_a_broken_file_is_said_and_the_page_goes_on(
    page: Page, served: Callable[..., App], tmp_path: Path, photo: Path, name: str, content: bytes, said: str
) -> None:
    come_in(page, served())
    (tmp_path / name).write_bytes(content)
    page.set_input_files("#files", tmp_path / name)
    expect(page.locator("#error")).to_contain_text(said)
    assert str(tmp_path) not in page.locator("body").inner_text()
    page.set_input_files("#files", photo)
    expect(page.locator("#facts")).to_contain_text("60 x 40 pixels")
    expect(page.locator("#error")).to_be_hidden()


def test_a_name_that_was_made_to_lead_here_gets_nothing(page: Page, served: Callable[..., App]) -> None:
    url = served().url.replace("127.0.0.1", "rebound.localhost")  # leads to 127.0.0.1, as a rebound name would
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 421
    assert page.context.cookies() == []


def test_another_page_can_neither_read_nor_change_anything(page: Page, served: Callable[..., App]) -> None:
    app = served()
    come_in(page, app)
    page.goto("about:blank")
    fetched = "address => fetch(address, {credentials: 'include', mode: 'no-cors'}).then(a => a.type, e => 'blocked')"
    assert page.evaluate(fetched, f"{app.url.partition('/?')[0]}/api/session") == "blocked"


def test_the_page_is_dark_where_the_person_likes_it_dark(browser: Browser, served: Callable[..., App]) -> None:
    app = served()
    found = {}
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme, viewport={"width": 420, "height": 900}) as context:
            page = context.new_page()
            come_in(page, app)
            style = "element => getComputedStyle(element).backgroundColor"
            found[scheme] = page.locator("body").evaluate(style)
            assert page.evaluate("document.documentElement.scrollWidth") <= 420, "nothing beyond a narrow window"
    assert found == {"light": "rgb(246, 246, 243)", "dark": "rgb(21, 23, 27)"}
