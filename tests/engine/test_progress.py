from __future__ import annotations

import time

import pytest
import torch

from semiseg.engine.progress import Progress, against_published, duration
from semiseg.published import PublishedCurve


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


VALUES = {"loss": 1.5, "loss_x": 2.0, "loss_s": 0.25, "confident": 0.456, "lr": 0.000123, "images_per_second": 12.34}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (41.2, "41 s"),
        (59.6, "1 m 00 s"),
        (200, "3 m 20 s"),
        (3599.7, "1 h 00 m"),
        (4320, "1 h 12 m"),
        (360_000, "100 h 00 m"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_pace_counts_the_steps_since_the_last_call_without_the_pauses(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    progress = Progress(steps=100, per_epoch=10, images=8, done=0)
    clock.now += 4
    assert progress.pace(5) == pytest.approx({"images_per_second": 10, "seconds_per_step": 0.8})
    clock.now += 2
    with progress.paused():
        clock.now += 50
    assert progress.pace(10) == pytest.approx({"images_per_second": 20, "seconds_per_step": 0.4})
    clock.now += 2
    assert progress.pace(15)["images_per_second"] == pytest.approx(20), "the pause counts once only"


def test_the_time_left_counts_pauses_and_only_the_steps_of_this_session(clock: Clock) -> None:
    progress = Progress(steps=100, per_epoch=10, images=8, done=60)
    with progress.paused():
        clock.now += 10
    clock.now += 10
    assert "  20 s left" in progress.line(80, VALUES, None)
    assert "  1 m 00 s left" in progress.line(70, VALUES, None)


def test_on_a_gpu_the_memory_of_this_process_counts(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**29)
    progress = Progress(steps=95, per_epoch=10, images=8, done=0)
    pace = progress.pace(1)
    assert pace["gpu_gb"] == 1.5
    assert "  1.5 GB  " in progress.line(20, {**VALUES, **pace}, None)


def test_the_line_says_where_how_well_and_how_fast(clock: Clock) -> None:
    progress = Progress(steps=95, per_epoch=10, images=8, done=0)
    clock.now += 60
    assert progress.line(20, VALUES, 0.7123) == (
        "epoch 2/10  step 20/95  loss 1.500 (x 2.000, s 0.250)  confident 46%  lr 0.00012  12.3 images/s"
        "  3 m 45 s left  best mIoU 71.2%"
    )
    labeled = {name: value for name, value in VALUES.items() if name not in ("loss_s", "confident")}
    assert progress.line(95, labeled, None) == (
        "epoch 10/10  step 95/95  loss 1.500 (x 2.000)  lr 0.00012  12.3 images/s  0 s left"
    )


def test_the_line_says_whether_the_losses_are_in_conflict_where_that_was_measured(clock: Clock) -> None:
    progress = Progress(steps=100, per_epoch=10, images=8, done=0)
    assert "cosine" not in progress.line(20, VALUES, None)
    assert "  gradients' cosine -0.07  " in progress.line(20, {**VALUES, "gradient_cosine": -0.07}, None)


def test_the_verdict_names_every_model_and_the_best(clock: Clock) -> None:
    progress = Progress(steps=20, per_epoch=10, images=8, done=0)
    line = progress.verdict(10, {"student": 0.5, "teacher": 0.61239}, 0.7)
    assert line == "epoch 1/2  step 10/20  mIoU student 50.00%, teacher 61.24% (best 70.00%)"


CURVE = PublishedCurve(run="table01", values={"teacher": (0.5, 0.7), "student": (0.4, 0.6)})


def test_the_distance_from_a_published_run_is_said_in_points() -> None:
    line = against_published(CURVE, 1.5, {"student": 0.1, "teacher": 0.5734})
    assert line == "published table01 at epoch 1.5: teacher 60.00%, ours 57.34% (-2.66 points)"
    assert "(+10.00 points)" in against_published(CURVE, 2, {"teacher": 0.8})


def test_where_there_is_nothing_to_compare_with_it_is_said() -> None:
    assert "no figure at epoch 0.5, only from 1 to 2" in against_published(CURVE, 0.5, {"teacher": 0.5})
    assert "no teacher here" in against_published(CURVE, 1, {"student": 0.5})


def test_an_epoch_begins_with_its_first_step(clock: Clock) -> None:
    progress = Progress(steps=20, per_epoch=10, images=8, done=0)
    assert progress.epoch(5) == 0.5
    assert progress.line(10, VALUES, None).startswith("epoch 1/2  ")
    assert progress.line(11, VALUES, None).startswith("epoch 2/2  ")
