"""The parts of the page, each a function from a run to HTML; a part that has nothing to say is an empty string.

Every text that comes from a file passes `escape`.
"""

from __future__ import annotations

import base64
import io
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from semiseg.data.palette import Colour
from semiseg.data.spec import SCORE_NAMES
from semiseg.published import published_curve, published_runs
from semiseg.reporting.charts import Line, line_chart
from semiseg.reporting.record import RunRecord, Score

_EARLIER_PICTURES = 6
"""How many older sheets the page carries; more would make it slow to open."""
_ROWS_IN_SIGHT = 25
"""A longer table of classes scrolls."""

_FACTS: tuple[tuple[str, str], ...] = (
    ("Recipe", "recipe"),
    ("Published run", "published"),
    ("Method", "method"),
    ("Data", "data.root"),
    ("Split", "data.split"),
    ("Encoder", "model.encoder"),
    ("Decoder", "model.decoder"),
    ("First weights", "model.weights"),
    ("Crop", "data.crop"),
    ("Global batch", "schedule.batch"),
    ("Learning rate (encoder)", "optimizer.lr"),
    ("Precision", "precision"),
    ("Seed", "seed"),
)
"""What the page calls a setting, and its key in the config."""
_COUNTS = (("Labeled images", "labeled"), ("Unlabeled images", "unlabeled"), ("Validation images", "val"))
"""What the page calls a count of the data, and its key in `environment.json`."""


def header(record: RunRecord) -> str:
    """Name the run, its method, model and data."""
    encoder, decoder = record.setting("model.encoder"), record.setting("model.decoder")
    model = " + ".join(part for part in (encoder, decoder) if part)
    parts = (record.setting("method"), model, record.setting("data.spec") or record.setting("data.root"))
    subtitle = " · ".join(escape(part) for part in parts if part)
    return f'<p class="kicker">semiseg run</p><h1>{escape(record.name)}</h1><p class="subtitle">{subtitle}</p>'


def tiles(record: RunRecord) -> str:
    """Show the few figures that one looks for first."""
    best = record.best()
    found = _score_tiles(record, best) if best else [_tile("mIoU", "-", "no evaluation yet", main=True)]
    confident, speed = record.last("train/confident"), record.metrics.get("train/images_per_second", ())
    if confident:
        found.append(_tile("Confident pixels", _percent(confident.value), f"at step {confident.step:,}"))
    if speed:
        typical = statistics.median(point.value for point in speed)
        found.append(_tile("Speed", f"{typical:,.0f}" if typical >= 10 else f"{typical:.1f}", "images/s, median"))
    last = record.last("train/loss")
    if last:
        found.append(_tile("Trained", f"{last.step:,}", f"steps, {_epoch(last.epoch)}"))
    return f'<div class="tiles">{"".join(found)}</div>'


def _score_tiles(record: RunRecord, best: Score) -> list[str]:
    (judged, top), *others = best.figures.items()
    found = [_tile(f"Best {judged} {SCORE_NAMES[record.score]}", _points(top), _epoch(best.epoch), main=True)]
    found += [
        _tile(f"{model.capitalize()} {SCORE_NAMES[record.score]}", _points(value), "at the same time")
        for model, value in others
    ]
    last = record.last(f"{judged}/{record.score}")
    if last and last.step != best.step:
        found.append(_tile(f"Last {judged} {SCORE_NAMES[record.score]}", _points(last.value), _epoch(last.epoch)))
    return found


def _tile(label: str, value: str, detail: str, *, main: bool = False) -> str:
    return (
        f'<div class="tile{" main" if main else ""}"><div class="label">{escape(label)}</div>'
        f'<div class="value">{escape(value)}</div><div class="detail">{escape(detail)}</div></div>'
    )


def facts(record: RunRecord) -> str:
    """Say what was trained: the settings that matter, the counts of the data, the command."""
    entries = [(label, record.setting(key)) for label, key in _FACTS]
    steps, epochs = record.setting("schedule.steps"), record.setting("schedule.epochs")
    entries.append(("Length", f"{steps} steps" if steps else f"{epochs} epochs" if epochs else None))
    entries += [(label, _count(record.environment.get(key))) for label, key in _COUNTS]
    listed = "".join(f"<div><dt>{label}</dt><dd>{escape(value)}</dd></div>" for label, value in entries if value)
    command = record.environment.get("command")
    shown = f'<pre class="command">{escape(str(command))}</pre>' if command else ""
    return f'<h2>What was trained</h2><div class="card"><dl class="facts">{listed}</dl>{shown}</div>'


def _count(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None


def scores(record: RunRecord) -> str:
    """Show the IoU of every class at the best evaluation of the labeling model."""
    best = record.best()
    if best is None:
        return '<h2>How good it is</h2><p class="quiet">This run has not been evaluated yet.</p>'
    models, colours = tuple(best.figures), _class_colours(record)
    rows = "".join(_class_row(name, colours.get(name), models, found) for name, found in best.classes)
    key = "".join(
        f'<span class="key"><i class="s{index}"></i>{name}</span>' for index, name in enumerate(models, start=1)
    )
    columns = "".join(f'<th class="number">{name}</th>' for name in models)
    table = (
        f'<div class="card{" scroll" if len(best.classes) > _ROWS_IN_SIGHT else ""}"><table><thead><tr><th>Class</th>'
        f'<th><span class="keys">{key}</span></th>{columns}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    count = len(record.metrics[f"{models[0]}/{record.score}"])
    note = (
        f"IoU of each class after {_epoch(best.epoch)}, the best of {count} evaluations by the {models[0]}'s "
        f"{SCORE_NAMES[record.score]}. "
        "The validation images that gave these figures also chose the moment."
    )
    only = f"IoU of each class after {_epoch(best.epoch)}, the only evaluation so far."
    return f'<h2>How good it is</h2><p class="note">{note if count > 1 else only}</p>{table if best.classes else ""}'


def _class_row(name: str, colour: Colour | None, models: Sequence[str], found: Mapping[str, float]) -> str:
    swatch = "" if colour is None else f'<span class="swatch" style="background:rgb{colour}"></span>'
    bars = "".join(_bar(found.get(model), index) for index, model in enumerate(models, start=1))
    figures = "".join(f'<td class="number">{_points(found.get(model))}</td>' for model in models)
    return f'<tr><td class="name">{swatch}{escape(name)}</td><td>{bars}</td>{figures}</tr>'


def _bar(share: float | None, index: int) -> str:
    width = 100 * min(max(share or 0.0, 0.0), 1.0)
    return f'<span class="track"><span class="bar s{index}" style="width:{width:.1f}%"></span></span>'


def _class_colours(record: RunRecord) -> dict[str, Colour]:
    """Return the colours of the model's card by class name; none while there is no card."""
    return dict(zip(record.card.classes, record.card.palette, strict=True)) if record.card else {}


def curves(record: RunRecord) -> str:
    """Draw the scores, the losses, the share of confident pixels and the learning rate."""
    best = record.best()
    mark = None
    if best:
        top = next(iter(best.figures.values()))
        mark = (best.epoch, top, f"best {_points(top)}")
    drawn = (
        line_chart(
            SCORE_NAMES[record.score],
            [
                *(_line(record, model, f"{model}/{record.score}", epochs=True) for model in record.models()),
                *_published(record),
            ],
            x_name="epoch",
            show=_points,
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
            show=_plain,
        ),
        line_chart(
            "Confident pixels",
            [_line(record, "share", "train/confident")],
            x_name="step",
            show=_percent,
            y_range=(0.0, 1.0),
        ),
        line_chart("Learning rate", [_line(record, "rate", "train/lr")], x_name="step", show=_plain),
    )
    return f'<h2>How it went</h2><div class="charts">{"".join(drawn)}</div>' if any(drawn) else ""


def _published(record: RunRecord) -> list[Line]:
    """Return the curve of the published run that this one follows, of the model that it was judged by."""
    name = record.setting("published")
    if name is None or name not in published_runs():
        return []
    curve = published_curve(name)
    return [Line(name=f"published {curve.judged}", points=curve.points(curve.judged), reference=True)]


def _line(record: RunRecord, label: str, name: str, *, epochs: bool = False) -> Line:
    points = record.metrics.get(name, ())
    return Line(name=label, points=[(point.epoch if epochs else point.step, point.value) for point in points])


def pictures(record: RunRecord) -> str:
    """Show the newest sheet of samples, and a few earlier ones folded away."""
    sheets = [sheet for sheet in map(_sheet, _spread(record.samples)) if sheet]
    if not sheets:
        return ""
    earlier = ""
    if len(sheets) > 1:
        note = f"{len(sheets) - 1} of {len(record.samples) - 1}, evenly spread; all are in samples/"
        earlier = _folded("Earlier pictures", f'<p class="note">{note}</p>{"".join(reversed(sheets[:-1]))}')
    return f"<h2>What it sees</h2>{sheets[-1]}{earlier}"


def _spread(samples: tuple[Path, ...]) -> list[Path]:
    """Return the newest sample last, and before it at most a few others, evenly spread from the first on."""
    earlier = samples[:-1]
    count = min(len(earlier), _EARLIER_PICTURES)
    return [earlier[index * len(earlier) // count] for index in range(count)] + list(samples[-1:])


def _sheet(path: Path) -> str:
    """Return one sheet inside the page; an empty string if the file is no picture (a run may be writing it)."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            packed = io.BytesIO()
            image.convert("RGB").save(packed, "JPEG", quality=90, subsampling=0)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    data = base64.b64encode(packed.getvalue()).decode("ascii")
    name = escape(_sheet_name(path))
    return (
        f'<figure class="sample"><figcaption>{name}</figcaption>'
        f'<img class="picture" alt="samples, {name}" src="data:image/jpeg;base64,{data}"></figure>'
    )


def _sheet_name(path: Path) -> str:
    number = path.stem.removeprefix("step_")
    return f"step {int(number):,}" if number.isdecimal() else path.stem


def details(record: RunRecord) -> str:
    """Show the machine, the versions and the whole config, folded away."""
    rows = "".join(
        f'<tr><td class="name">{escape(str(key))}</td><td>{escape(str(value))}</td></tr>'
        for key, value in record.environment.items()
    )
    machine = _folded("Environment", f"<table><tbody>{rows}</tbody></table>") if rows else ""
    config = _folded("Full config (config.yaml)", f"<pre>{escape(record.config_text)}</pre>")
    return f"<h2>How to repeat it</h2>{machine}{config}"


def _folded(summary: str, content: str) -> str:
    return f'<details><summary>{summary}</summary><div class="inside">{content}</div></details>'


def footer(record: RunRecord) -> str:
    """Say where the figures come from."""
    return (
        "<footer>Written by <code>semiseg report</code> from config.yaml, environment.json, metrics.csv and samples/ "
        f"of {escape(record.name)}. IoU and the like in percent.</footer>"
    )


def _epoch(epoch: float) -> str:
    return f"epoch {epoch:.4g}"


def _points(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def _plain(value: float) -> str:
    return f"{value:.3g}".replace("e-0", "e-")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
