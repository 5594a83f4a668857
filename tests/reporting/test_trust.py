from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import Page

from semiseg.engine.class_windows import HEADER
from semiseg.published.bands import healthy_band
from semiseg.reporting.page import report
from semiseg.reporting.quality_record import read_quality
from semiseg.reporting.record import read_run
from semiseg.reporting.slices import slices
from semiseg.reporting.trust import trust

CLASSES = ("field", "road & path", "<b>water</b>")
QUALITY: dict[str, Any] = {
    "step": 20,
    "threshold": 0.95,
    "ece": 0.08,
    "kept": 0.6,
    "kept_right": 0.9,
    "disagreement": 0.03,
    "rank_agreement": 0.71,
    "bins": [{"pixels": 50, "right": 20, "confidence": 25.0}, {"pixels": 50, "right": 45, "confidence": 47.5}],
    "classes": [{"name": name, "kept": 30, "kept_right": 27, "predicted": 0.8} for name in CLASSES],
    "images": [
        {"id": f"image{k}", "predicted": 0.5 + k / 20, "iou": k / 10, "accuracy": 0.9, "pixels": 100} for k in range(10)
    ],
    "confusion": [[90, 5, 5], [4, 6, 0], [0, 0, 0]],
}


@pytest.fixture
def watched_run(finished_run: Path) -> Path:
    """Return a run whose teacher has lost the class road, and whose newest evaluation told its quality."""
    with (finished_run / "pseudo_labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(HEADER)
        for step in range(1, 21):
            shares = zip(CLASSES, (0.6, 0.1, 0.3), (0.7, 0.0, 0.3), strict=True)
            for index, (name, labeled, pseudo) in enumerate(shares):
                rows.writerow((step, f"{index} {name}", labeled, pseudo, pseudo / 2))
    (finished_run / "checkpoints").mkdir()
    (finished_run / "checkpoints" / "quality.json").write_text(json.dumps(QUALITY))
    return finished_run


def test_the_report_tells_how_far_to_trust_the_run(watched_run: Path) -> None:
    page = Page(report(watched_run).read_text())
    text = " ".join(page.text)
    assert "the teacher hardly says any more what masks show: road & path" in text
    assert "What to do: try a lower --consistency.weight" in text
    assert "60 % of the pixels are at confidence 0.95 or more, and 90.0 % of those are right" in text
    assert "Student and teacher disagree on 3.0 % of the pixels." in text
    assert "field instead of road & path: 40.0 % of road & path" in text
    assert [tag for tag, _ in page.tags].count("details") >= 3, "the confusion matrix opens by keyboard"


def test_slices_part_classes_by_frequency_and_images_by_size(watched_run: Path) -> None:
    images = [{**image, "pixels": 10**6 * (1 + 3 * (k > 5))} for k, image in enumerate(QUALITY["images"])]
    confusion = [[1980, 0, 0], [4, 6, 0], [0, 0, 10]]
    changed = {**QUALITY, "images": images, "confusion": confusion}
    (watched_run / "checkpoints" / "quality.json").write_text(json.dumps(changed))
    classes, sizes = slices(read_run(watched_run).quality)
    assert [(row.name, row.content) for row in classes.rows] == [
        ("frequent, 10% or more", "field"),
        ("rare, below 1%", "road & path, <b>water</b>"),
    ]
    assert [row.iou for row in classes.rows] == pytest.approx([1980 / 1984, (0.6 + 1) / 2])
    assert [(row.name, row.content) for row in sizes.rows] == [
        ("smallest, 1 megapixels", "6 images"),
        ("largest, 4 megapixels", "4 images"),
    ]
    assert [row.iou for row in sizes.rows] == pytest.approx([0.25, 0.75])
    assert "Where it is good" in Page(report(watched_run).read_text()).text


def test_images_of_one_size_or_of_an_earlier_version_have_no_slices_by_size(watched_run: Path) -> None:
    path = watched_run / "checkpoints" / "quality.json"
    assert [part.title for part in slices(read_quality(path))] == ["Classes by their share of the val pixels"]
    images = [{name: value for name, value in image.items() if name != "pixels"} for image in QUALITY["images"]]
    path.write_text(json.dumps({**QUALITY, "images": images}))
    assert [part.title for part in slices(read_quality(path))] == ["Classes by their share of the val pixels"]


def test_images_are_ranked_by_their_iou(watched_run: Path) -> None:
    found = trust(read_run(watched_run))
    assert found is not None
    assert [image.id for image in found.worst] == [f"image{k}" for k in range(5)]
    assert [image.id for image in found.best] == [f"image{k}" for k in range(9, 4, -1)]


def test_conflicts_of_the_two_losses_are_drawn_where_they_were_measured(watched_run: Path) -> None:
    def titles() -> list[str]:
        found = trust(read_run(watched_run))
        assert found is not None
        return [chart.title for chart in found.charts]

    title = "Labels and pseudo-labels: cosine of their gradients"
    assert title not in titles()
    with (watched_run / "metrics.csv").open("a", newline="") as file:
        csv.writer(file).writerows([(5, 1, "train/gradient_cosine", 0.2), (10, 2, "train/gradient_cosine", -0.1)])
    assert title in titles()
    assert "-0.10" in " ".join(Page(report(watched_run).read_text()).text)


def test_a_class_has_its_shares_and_what_its_labels_are_worth(watched_run: Path) -> None:
    found = trust(read_run(watched_run))
    assert found is not None
    field, road, _ = found.classes
    assert (field.labeled, field.pseudo, field.confident) == pytest.approx((0.6, 0.7, 0.5))
    assert (field.right, field.predicted) == (0.9, 0.8)
    assert (road.pseudo, road.confident) == (0.0, None)


def test_a_labeled_only_run_has_no_empty_columns_of_pseudo_labels(make_run: Callable[..., Path]) -> None:
    run = make_run("labeled", scores=(0.5, 0.4))
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "quality.json").write_text(json.dumps({**QUALITY, "disagreement": None}))
    page = Page(report(run).read_text())
    text = page.text[page.text.index("How far to trust it") :]
    assert text[text.index("Class") :][:6] == ["Class", "right", "predicted", "field", "90.0", "80.0"]
    said = " ".join(text)
    assert "90.0 % of those are right: so reliable pseudo-labels of this model would be" in said
    assert "a shorter training or a lower rate may do" in said
    for absent in ("pseudo-labels at the end", "consistency", "is what teaches"):
        assert absent not in said[: said.index("How to repeat it")]


@pytest.mark.parametrize(
    "damage",
    [{"ece": "<script>"}, {"ece": 9e9}, {"confusion": [[1]]}, {"bins": None}, {"classes": [{}]}, {"step": []}],
)
def test_a_file_that_no_run_wrote_is_passed_over(watched_run: Path, damage: dict[str, Any]) -> None:
    path = watched_run / "checkpoints" / "quality.json"
    path.write_text(json.dumps({**QUALITY, **damage}))
    assert read_quality(path) is None
    assert report(watched_run).is_file()


def test_the_band_of_an_unknown_data_set_holds_those_of_all() -> None:
    everything = healthy_band("fields")
    for name in ("pascal", "cityscapes", "ade20k", "coco"):
        for (low, high), (lowest, highest) in zip(healthy_band(name), everything, strict=True):
            assert lowest <= low < high <= highest
