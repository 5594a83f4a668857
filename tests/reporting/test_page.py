from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pages import Page
from PIL import Image

from semiseg.errors import FileError
from semiseg.reporting import report
from semiseg.reporting.record import read_run
from semiseg.reporting.sheets import packed


def page_of(run: Path) -> Page:
    return Page(report(run).read_text(encoding="utf-8"))


def test_the_page_answers_what_was_trained_and_how_good_it_is(finished_run: Path) -> None:
    page = page_of(finished_run)
    assert page.after("Best teacher mIoU") == "70.0"
    assert page.after("70.0") == "epoch 3"
    assert page.after("Student mIoU") == "60.0"
    assert page.after("Last teacher mIoU") == "66.0"
    assert page.after("Recipe") == "fields"
    assert page.after("Method") == "unimatch_v2"
    assert page.after("Labeled images") == "30"
    assert page.after("Unlabeled images") == "4,212"
    assert page.after("Seed") == "7"
    assert page.after("Length") == "4 epochs"
    assert "semiseg train fields --seed 7 && echo <done>" in page.text


def test_every_class_has_a_row_with_bars_as_long_as_its_iou(finished_run: Path) -> None:
    page = page_of(finished_run)
    for name, teacher, student in (
        ("field", "60.0", "50.0"),
        ("road & path", "70.0", "60.0"),
        ("<b>water</b>", "80.0", "70.0"),
    ):
        place = page.text.index(name)
        assert page.text[place + 1 : place + 3] == [teacher, student]
    widths = [attributes["style"] for tag, attributes in page.tags if str(attributes.get("class")).startswith("bar ")]
    assert widths == [f"width:{width}.0%" for width in (60, 50, 70, 60, 80, 70)]


def test_four_charts_tell_how_it_went(finished_run: Path) -> None:
    page = page_of(finished_run)
    charts = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert charts == ["mIoU", "Loss", "Learning rate", "Pixels of confidence 0.95 or more"]
    assert "best 70.0" in page.text


def test_a_picture_is_packed_once_for_all_reports_and_anew_when_it_changes(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs: list[Image.Image] = []

    def counted(image: Image.Image) -> str:
        packs.append(image)
        return packed(image)

    monkeypatch.setattr("semiseg.reporting.sheets.packed", counted)
    first = report(finished_run).read_text()
    assert len(packs) == 4
    assert report(finished_run).read_text() == first
    assert len(packs) == 4
    Image.new("RGB", (60, 40), (0, 200, 0)).save(finished_run / "samples" / "step_000010.png")
    assert report(finished_run).read_text() != first
    assert len(packs) == 5


def test_the_newest_picture_is_open_and_earlier_ones_are_folded_away(finished_run: Path) -> None:
    html = report(finished_run).read_text()
    captions = re.findall(r"<figcaption>(step \d+)</figcaption>", html)
    assert captions == ["step 20", "step 15", "step 10", "step 5"]
    assert html.index("step 20") < html.index("Earlier pictures") < html.index("samples, step 15")


def test_a_long_run_shows_a_few_earlier_pictures_from_the_first_on(finished_run: Path) -> None:
    for step in range(25, 500, 5):
        Image.new("RGB", (6, 4)).save(finished_run / "samples" / f"step_{step:06}.png")
    html = report(finished_run).read_text()
    captions = re.findall(r"<figcaption>step (\d+)</figcaption>", html)
    assert len(captions) == 7
    assert captions[0] == "495"
    assert captions[-1] == "5"
    assert "6 of 98" in html


def test_the_page_asks_the_network_for_nothing(finished_run: Path) -> None:
    html = report(finished_run).read_text()
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe", html)
    page = Page(html)
    assert {str(attributes["src"]).partition(",")[0] for tag, attributes in page.tags if tag == "img"} == {
        "data:image/jpeg;base64"
    }
    policies = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_texts_from_files_are_escaped(finished_run: Path) -> None:
    evil = "<script>alert(1)</script>"
    (finished_run / "config.yaml").write_text(f"recipe: '{evil}'\nmethod: '{evil}'\nmodel: {{encoder: '{evil}'}}\n")
    (finished_run / "environment.json").write_text(f'{{"command": "{evil}", "{evil}": "{evil}", "labeled": "{evil}"}}')
    (finished_run / "model" / "config.json").unlink()
    with (finished_run / "metrics.csv").open("a") as file:
        file.write(f"15,3,teacher/iou/{evil},0.5\n")
    (finished_run / "samples" / "step_000020.png").rename(finished_run / "samples" / "z<script>.png")
    html = report(finished_run).read_text()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 8
    assert "fields &lt;1&gt;" in html


def test_an_unfinished_run_gets_a_page_too(fresh_run: Path) -> None:
    page = page_of(fresh_run)
    assert "This run has not been evaluated yet." in page.text
    assert page.after("Method") == "unimatch_v2"
    assert not [tag for tag, _ in page.tags if tag in ("svg", "img")]


def test_a_config_alone_is_enough(fresh_run: Path) -> None:
    (fresh_run / "environment.json").unlink()
    (fresh_run / "config.yaml").write_text("seed: 0\n")
    assert "Full config (config.yaml)" in page_of(fresh_run).text


def test_a_training_that_has_begun_shows_its_losses(fresh_run: Path) -> None:
    (fresh_run / "metrics.csv").write_text("step,epoch,name,value\n1,1,train/loss,2.5\n")
    page = page_of(fresh_run)
    assert [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"] == ["Loss"]


def test_a_run_without_a_teacher_shows_its_student_alone(fresh_run: Path) -> None:
    rows = "step,epoch,name,value\n5,0.25,student/miou,0.4\n5,0.25,student/iou/field,0.4\n"
    (fresh_run / "metrics.csv").write_text(rows)
    page = page_of(fresh_run)
    assert page.after("Best student mIoU") == "40.0"
    assert page.after("40.0") == "epoch 0.25"
    assert page.text[page.text.index("field") + 1 :].index("How it went") == 1, "one figure in the row of a class"
    assert "teacher" not in " ".join(page.text)


def test_a_picture_that_is_being_written_is_left_out(finished_run: Path) -> None:
    newest = finished_run / "samples" / "step_000020.png"
    newest.write_bytes(newest.read_bytes()[:60])
    assert "<figcaption>step 15</figcaption>" in report(finished_run).read_text()


def test_a_new_report_replaces_the_old_one_and_leaves_nothing_else(finished_run: Path) -> None:
    before = {path.name for path in finished_run.iterdir()}
    first = report(finished_run)
    assert first == finished_run / "report.html"
    (finished_run / "config.yaml").write_text("recipe: another\n")
    assert page_of(finished_run).after("Recipe") == "another"
    assert {path.name for path in finished_run.iterdir()} == before | {"report.html"}


def test_no_room_is_an_error_and_keeps_the_old_report(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report(finished_run).read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space left on device"):
        report(finished_run)
    assert (finished_run / "report.html").read_text() == before
    assert not list(finished_run.glob("*.part")) + list(finished_run.glob(".*.part"))


def test_classes_are_listed_in_the_order_of_their_ids(finished_run: Path) -> None:
    (finished_run / "metrics.csv").write_text(
        "step,epoch,name,value\n1,1,teacher/miou,0.5\n"
        "1,1,teacher/iou/<b>water</b>,0.5\n1,1,teacher/iou/field,0.5\n1,1,teacher/iou/other,0.5\n"
    )
    assert read_run(finished_run).classes() == ("field", "<b>water</b>", "other")


def test_the_published_curve_is_drawn_under_the_runs_own(finished_run: Path) -> None:
    without = report(finished_run).read_text()
    assert "published teacher" not in without
    config = (finished_run / "config.yaml").read_text()
    (finished_run / "config.yaml").write_text(f"published: table01-pascal_unimatch_v2_92labels_dinov2_base\n{config}")
    assert "published teacher" in report(finished_run).read_text()
    (finished_run / "config.yaml").write_text(f"published: of a later version\n{config}")
    assert "published teacher" not in report(finished_run).read_text()
