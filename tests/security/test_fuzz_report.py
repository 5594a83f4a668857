"""Any text may stand in the files of runs: a report or a comparison is a page all the same and shows text as text."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages import Page

from semiseg.data.spec import SCORE_NAMES
from semiseg.engine.class_windows import ClassWindow
from semiseg.printable import printable
from semiseg.reporting import comparison
from semiseg.reporting.likeness import cautions, obstacles
from semiseg.reporting.page import render
from semiseg.reporting.quality_record import ClassTrust, ImageTrust, QualityRecord
from semiseg.reporting.record import Point, RunRecord
from semiseg.reporting.settings import group
from semiseg.reporting.side_by_side import SideBySide
from semiseg.reporting.verdict import verdict

ATTACKS = st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</style><script>",
        "'\" onload=alert(1) x='",
        "-->",
        "]]>",
        "{{ x }}",
        "\x1b[2J",
        "&lt",
    ]
)
TEXTS = st.one_of(ATTACKS, st.text(st.characters(exclude_categories=()), max_size=40))
NUMBERS = st.floats(-1e99, 1e99)
VALUES = st.one_of(TEXTS, NUMBERS, st.integers(), st.none(), st.booleans(), st.lists(TEXTS, max_size=2))
KEYS = st.sampled_from(["recipe", "method", "seed", "precision", "published"])
PARTS = st.sampled_from(["root", "split", "encoder", "decoder", "weights", "crop", "batch", "steps", "epochs"])
CONFIGS = st.one_of(
    st.dictionaries(st.one_of(KEYS, TEXTS, st.integers()), VALUES),
    st.dictionaries(st.sampled_from(["data", "model", "schedule"]), st.dictionaries(PARTS, VALUES)),
)
METRICS = st.dictionaries(
    st.one_of(
        st.sampled_from(["teacher/miou", "student/miou", "teacher/changed_iou", "train/loss", "train/confident"]),
        st.builds("teacher/iou/{}".format, TEXTS),
        st.builds("student/iou/{}".format, TEXTS),
        TEXTS,
    ),
    st.lists(st.builds(Point, st.integers(0, 10**6), NUMBERS, NUMBERS), min_size=1, max_size=3).map(
        lambda found: tuple(sorted(found))
    ),
    max_size=6,
)
SHARE = st.floats(0, 1)
SHARES_3 = st.lists(SHARE, min_size=3, max_size=3).map(np.array)
TWINS = st.dictionaries(st.sampled_from(["headline", "details", "twin"]), st.one_of(VALUES, st.lists(VALUES)))
QUALITIES = st.builds(
    QualityRecord,
    classes=st.tuples(TEXTS, st.just("b"), st.just("c")).map(
        lambda names: {name: ClassTrust(kept=2, kept_right=1, predicted=0.5) for name in names}
    ),
    images=st.lists(st.builds(ImageTrust, id=TEXTS, predicted=SHARE, iou=SHARE, accuracy=SHARE), max_size=4).map(tuple),
    bins=st.just(((2.0, 1.0, 1.5), (0.0, 0.0, 0.0))),
    confusion_KK=st.just(np.ones((3, 3), np.int64)),
).filter(lambda quality: len(quality.classes) == 3)
RECORDS = st.builds(
    RunRecord,
    path=st.just(Path("run")),
    name=TEXTS,
    config=CONFIGS,
    config_text=TEXTS,
    environment=st.dictionaries(st.one_of(TEXTS, st.sampled_from(["command", "labeled", "val"])), VALUES, max_size=4),
    metrics=METRICS,
    card=st.none(),
    samples=st.just(()),
    window_classes=st.tuples(TEXTS, TEXTS, TEXTS),
    windows=st.lists(st.builds(ClassWindow, st.integers(0, 10**6), SHARES_3, SHARES_3, SHARES_3), max_size=3).map(
        lambda found: tuple(sorted(found, key=lambda window: window.step))
    ),
    quality=st.none() | QUALITIES,
    twin=TWINS,
)
HARMLESS = (
    "a b body circle code dd details div dl dt figcaption figure footer h1 h2 h3 head html i img li line main meta ol "
    "p polygon polyline pre span style summary svg table tbody td text th thead title tr ul"
)


FUZZ = settings(
    max_examples=int(os.environ.get("SEMISEG_FUZZ", "200")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def harmless_page(html: str) -> str:
    """Check that nothing on a page could act, and return its text."""
    html.encode("utf-8")
    page = Page(html)
    assert {tag for tag, _ in page.tags} <= set(HARMLESS.split())
    attributes = {name for _, found in page.tags for name in found}
    assert not [name for name in attributes if name.startswith("on") or name in ("srcset", "action")]
    assert {found["href"] for _, found in page.tags if "href" in found} <= {"compare.html"}, "beside the report"
    assert html.count("<style>") == html.count("</style>") == 1
    return "\n".join(page.text)


@FUZZ
@given(RECORDS)
def test_fuzz_any_text_in_a_run_is_shown_as_text(record: RunRecord) -> None:
    shown = harmless_page(render(record))
    for name in (record.name, *record.environment, *record.classes()):
        assert printable(name).strip() in shown


@FUZZ
@given(st.lists(RECORDS, min_size=2, max_size=3), st.lists(TEXTS, max_size=2))
def test_fuzz_any_text_in_runs_is_compared_as_text(records: list[RunRecord], notes: list[str]) -> None:
    settings, against = group(records), obstacles(records)
    found = comparison.Comparison(
        page=Path("compare.html"),
        settings=tuple(settings),
        score=records[0].score,
        verdict=verdict(settings, SCORE_NAMES[records[0].score], against),
        obstacles=tuple(against),
        cautions=tuple(cautions(records)),
        pictures=SideBySide(rows=(), legend=(), notes=tuple(notes), parameters={}),
    )
    shown = harmless_page(comparison.render(found))
    for text in (*notes, *(setting.label for setting in settings)):
        assert printable(text).strip() in shown
    json.dumps(found.as_json(), allow_nan=False)
