from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import Page

from semiseg.errors import FileError, RunError
from semiseg.reporting import report
from semiseg.reporting.comparison import compare, lines

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def runs(make_run: Callable[..., Path]) -> list[Path]:
    return [
        make_run("labeled", scores=(0.3, 0.335)),
        make_run("v2-0", "unimatch_v2", scores=(0.3, 0.387), seconds=1.0),
        make_run("v2-1", "unimatch_v2", scores=(0.3, 0.401), seconds=1.0, seed=1),
    ]


def test_the_page_begins_with_who_won(runs: list[Path]) -> None:
    found = compare(runs)
    page = Page(found.page.read_text(encoding="utf-8"))
    assert found.page == runs[0].parent / "compare.html"
    headline = "unimatch_v2 is 5.9 points of mIoU ahead of labeled-only (39.4 against 33.5)"
    assert found.verdict.headline == headline
    words = page.text[page.text.index("semiseg compare") + 1 :]
    assert words[:2] == [headline, "3 runs · fields · 60 validation images"]
    assert words[2] == found.verdict.details[0]
    assert page.after("39.4") == "mIoU · ± 1.0, 2 runs · +5.9"


def test_every_setting_has_one_colour_in_all_parts(runs: list[Path]) -> None:
    page = Page(compare(runs).page.read_text(encoding="utf-8"))
    classes = [str(attributes.get("class")) for _, attributes in page.tags]
    for kind, count in {"line s1": 2, "line s2": 4, "line s3": 0, "bar s1": 3, "bar s2": 3}.items():
        assert classes.count(kind) == count, kind
    charts = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert charts == ["mIoU by step", "mIoU by time of training"]


def test_the_curve_by_time_is_as_long_as_the_training(runs: list[Path]) -> None:
    html = compare(runs).page.read_text(encoding="utf-8")
    dots = re.findall(r"<title>unimatch_v2 (\S+) at (\S+)</title>", html)
    assert dots == [("30.0", "10"), ("38.7", "20"), ("30.0", "10"), ("40.1", "20")] * 2  # steps of one second


def test_a_run_without_its_pace_leaves_the_chart_by_time_out(runs: list[Path], make_run: Callable[..., Path]) -> None:
    old = make_run("old", "fixmatch", seconds=None)
    page = Page(compare([*runs, old]).page.read_text(encoding="utf-8"))
    assert [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"] == ["mIoU by step"]


def test_other_val_images_are_flagged_and_name_no_winner(runs: list[Path], make_run: Callable[..., Path]) -> None:
    found = compare([*runs, make_run("other", "fixmatch", environment={"val": 7})])
    assert found.verdict.headline.startswith("No winner can be named: the runs were evaluated on different images")
    html = found.page.read_text(encoding="utf-8")
    assert "Figures are comparable on the same images" in html
    assert "+5.9" not in Page(html).after("39.4")


def test_out_is_a_page_or_a_folder(runs: list[Path], tmp_path: Path) -> None:
    assert compare(runs, tmp_path / "deep" / "it.html").page == tmp_path / "deep" / "it.html"
    assert compare(runs, str(tmp_path / "new")).page == tmp_path / "new" / "compare.html"
    assert compare(runs, tmp_path / "new").page.is_file(), "an earlier comparison is replaced"


def test_what_is_no_comparison_is_left_alone(runs: list[Path], tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("<p>my page</p>")
    for page in (mine, report(runs[0])):
        before = page.read_text(encoding="utf-8")
        with pytest.raises(RunError, match=r"something else(.|\n)*--out"):
            compare(runs, page)
        assert page.read_text(encoding="utf-8") == before
    (tmp_path / "folder.html" / "compare.html").mkdir(parents=True)
    with pytest.raises(RunError, match="something else"):
        compare(runs, tmp_path / "folder.html")


def test_no_room_is_an_error(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError):
        compare(runs, tmp_path / "file" / "compare.html")


def test_no_run_and_what_is_none_are_refused(runs: list[Path], tmp_path: Path) -> None:
    for named in ([], runs[:1]):
        with pytest.raises(RunError, match="one run alone"):
            compare(named, tmp_path)
    with pytest.raises(RunError, match="no such run directory"):
        compare([*runs, tmp_path / "missing"], tmp_path)


def test_texts_from_files_are_shown_as_text(make_run: Callable[..., Path], tmp_path: Path) -> None:
    evil = {"data": {"root": EVIL}, "model": {"encoder": EVIL}, "strong": {EVIL: 1}}
    one = make_run(
        "a\x1b[2J\n<b>", EVIL, settings=evil, classes=(EVIL, "b"), environment={"cpu": EVIL, "labeled": EVIL}
    )
    two = make_run("b", "fixmatch", classes=(EVIL, "b"))
    found = compare([one, two], tmp_path)
    html = found.page.read_text(encoding="utf-8")
    Page(html)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 8
    assert "\x1b" not in html + "".join(lines(found))
    assert all("\n" not in line for line in lines(found))


def test_the_page_asks_the_network_for_nothing_and_scrolls_by_keyboard(runs: list[Path]) -> None:
    html = compare(runs).page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe|href=", html)
    page = Page(html)
    wide = [attributes for _, attributes in page.tags if "wide" in str(attributes.get("class"))]
    assert wide
    assert all((found["tabindex"], found["role"]) == ("0", "region") and found["aria-label"] for found in wide)
    assert "prefers-color-scheme: dark" in html


def test_a_terminal_gets_the_figures_the_verdict_and_the_page(runs: list[Path]) -> None:
    found = compare(runs)
    said = lines(found)
    assert said[0].split() == ["labeled-only", "33.5", "mIoU"]
    assert said[1].split() == ["unimatch_v2", "39.4", "±", "1.0", "mIoU"]
    assert said[2] == found.verdict.headline
    assert said[-1] == str(found.page)
    assert any(line.startswith("No pictures") for line in said)
