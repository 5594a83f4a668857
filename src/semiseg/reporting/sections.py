"""What the report of a run says, part by part: plain values, which `templates/report.html` lays out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semiseg.data.palette import Colour
from semiseg.data.spec import SCORE_NAMES
from semiseg.errors import some
from semiseg.published import published_curve, published_runs
from semiseg.reporting.charts import Chart, Line, line_chart
from semiseg.reporting.record import RunRecord, Score
from semiseg.reporting.wording import epoch, percent, plain, points

_FACTS: tuple[tuple[str, str], ...] = (
    ("Recipe", "recipe"),
    ("Published run", "published"),
    ("Method", "method"),
    ("Data", "data.root"),
    ("Split", "data.split"),
    ("Encoder", "model.encoder"),
    ("Decoder", "model.decoder"),
    ("First weights", "model.weights"),
    ("Longer side of an image at most, in training and evaluation", "data.long_side"),
    ("Crop", "data.crop"),
    ("Global batch", "schedule.batch"),
    ("Learning rate (encoder)", "optimizer.lr"),
    ("Precision", "precision"),
    ("Seed", "seed"),
)
"""What the page calls a setting, and its key in the config."""
_COUNTS = (("Labeled images", "labeled"), ("Unlabeled images", "unlabeled"), ("Validation images", "val"))
"""What the page calls a count of the data, and its key in `environment.json`."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A figure that one looks for first."""

    label: str
    value: str
    detail: str
    main: bool = False


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class, its colour where it is known, and its IoU by each model, 0 to 1."""

    name: str
    colour: Colour | None
    iou: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The IoU of every class: what is to know of the evaluation, the models, a row for each class."""

    note: str
    models: tuple[str, ...]
    rows: tuple[ClassRow, ...]


def subtitle(record: RunRecord) -> str:
    """Name the method, the model and the data."""
    encoder, decoder = record.setting("model.encoder"), record.setting("model.decoder")
    model = " + ".join(part for part in (encoder, decoder) if part)
    parts = (record.setting("method"), model, record.setting("data.spec") or record.setting("data.root"))
    return " · ".join(part for part in parts if part)


def tiles(record: RunRecord) -> list[Tile]:
    """Return the few figures that one looks for first."""
    best = record.best()
    nothing = Tile(label="mIoU", value="-", detail="no evaluation yet", main=True)
    found = _score_tiles(record, best) if best else [nothing]
    confident, speed = record.last("train/confident"), record.metrics.get("train/images_per_second", ())
    if confident:
        detail = f"at step {confident.step:,}"
        found.append(Tile(label="Confident pixels", value=percent(confident.value), detail=detail))
    if speed:
        typical = statistics.median(point.value for point in speed)
        value = f"{typical:,.0f}" if typical >= 10 else f"{typical:.1f}"
        found.append(Tile(label="Speed", value=value, detail="images/s, median"))
    last = record.last("train/loss")
    if last:
        found.append(Tile(label="Trained", value=f"{last.step:,}", detail=f"steps, {epoch(last.epoch)}"))
    return found


def _score_tiles(record: RunRecord, best: Score) -> list[Tile]:
    name = SCORE_NAMES[record.score]
    (judged, top), *others = best.figures.items()
    found = [Tile(label=f"Best {judged} {name}", value=points(top), detail=epoch(best.epoch), main=True)]
    found += [
        Tile(label=f"{model.capitalize()} {name}", value=points(value), detail="at the same time")
        for model, value in others
    ]
    last = record.last(f"{judged}/{record.score}")
    if last and last.step != best.step:
        found.append(Tile(label=f"Last {judged} {name}", value=points(last.value), detail=epoch(last.epoch)))
    return found


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """Say what was trained: the settings that matter, the counts of the data."""
    entries = [(label, record.setting(key)) for label, key in _FACTS]
    steps, epochs = record.setting("schedule.steps"), record.setting("schedule.epochs")
    entries.append(("Length", f"{steps} steps" if steps else f"{epochs} epochs" if epochs else None))
    entries += [(label, _count(record.environment.get(key))) for label, key in _COUNTS]
    damaged = f"{len(record.damaged):,}: {some(record.damaged)}" if record.damaged else None
    entries.append(("Unlabeled images passed over as damaged", damaged))
    return [(label, value) for label, value in entries if value]


def _count(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None


def scores(record: RunRecord) -> ScoreTable | None:
    """Return the IoU of every class at the best evaluation of the labeling model; None before any."""
    best = record.best()
    if best is None:
        return None
    models, colours = tuple(best.figures), _class_colours(record)
    return ScoreTable(
        note=_note(record, best),
        models=models,
        rows=tuple(
            ClassRow(name=name, colour=colours.get(name), iou=tuple(found.get(model) for model in models))
            for name, found in best.classes
        ),
    )


def _note(record: RunRecord, best: Score) -> str:
    judged = next(iter(best.figures))
    count = len(record.metrics[f"{judged}/{record.score}"])
    if count == 1:
        return f"IoU of each class after {epoch(best.epoch)}, the only evaluation so far."
    return (
        f"IoU of each class after {epoch(best.epoch)}, the best of {count} evaluations by the {judged}'s "
        f"{SCORE_NAMES[record.score]}. The validation images that gave these figures also chose the moment."
    )


def _class_colours(record: RunRecord) -> Mapping[str, Colour]:
    """Return the colours of the model's card by class name; none while there is no card."""
    return dict(zip(record.card.classes, record.card.palette, strict=True)) if record.card else {}


def charts(record: RunRecord) -> list[Chart]:
    """Draw the scores, the losses and the learning rate."""
    best = record.best()
    mark = None
    if best:
        top = next(iter(best.figures.values()))
        mark = (best.epoch, top, f"best {points(top)}")
    drawn = (
        line_chart(
            SCORE_NAMES[record.score],
            [
                *(_line(record, model, f"{model}/{record.score}", epochs=True) for model in record.models()),
                *_published(record),
            ],
            x_name="epoch",
            show=points,
            mark=mark,
        ),
        line_chart(
            "Loss",
            [
                _line(record, "total", "train/loss"),
                _line(record, "labeled", "train/loss_x"),
                _line(record, "unlabeled", "train/loss_s"),
            ],
            x_name="step",
            show=plain,
        ),
        line_chart("Learning rate", [_line(record, "rate", "train/lr")], x_name="step", show=plain),
    )
    return [chart for chart in drawn if chart]


def _published(record: RunRecord) -> list[Line]:
    """Return the curve of the published run that this one follows, of the model that it was judged by."""
    name = record.setting("published")
    if name is None or name not in published_runs():
        return []
    curve = published_curve(name)
    return [Line(name=f"published {curve.judged}", points=curve.points(curve.judged), reference=True)]


def _line(record: RunRecord, label: str, name: str, *, epochs: bool = False) -> Line:
    found = record.metrics.get(name, ())
    return Line(name=label, points=[(point.epoch if epochs else point.step, point.value) for point in found])
