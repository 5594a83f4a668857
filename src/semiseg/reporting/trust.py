"""What the report says of trust: pseudo-labels over the training, and confidence and mistakes on val images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiseg.data.palette import Colour
from semiseg.engine.collapse import Alarm, alarms, distance, prior
from semiseg.published.bands import THRESHOLD, healthy_band
from semiseg.reporting.charts import Area, Chart, Line, line_chart
from semiseg.reporting.quality_record import ImageTrust, QualityRecord
from semiseg.reporting.record import RunRecord
from semiseg.reporting.settings import labeled_only
from semiseg.reporting.wording import percent, points

_CURVES = 8
"""Classes whose confident part is drawn over time: as many as the page has colours."""
_LARGEST_TABLE = 30
"""Classes of the largest confusion matrix that can be read."""
_MISTAKES, _IMAGES = 8, 5
_WORSE = 0.01
_NONE = 1e-9
"""No share of pixels is so small, but for 0."""
_BIN = 0.0005
"""Least part of the pixels in a bin of confidence of which a point is drawn."""


@dataclass(frozen=True, kw_only=True)
class TrustRow:
    """A class: its shares of labels and pseudo-labels, and how far its labels can be trusted; None where not known."""

    name: str
    colour: Colour | None
    labeled: float | None
    pseudo: float | None
    confident: float | None
    right: float | None
    predicted: float | None


@dataclass(frozen=True, kw_only=True)
class ConfusionRow:
    """A class and, of its pixels, the part that is said to be of each class."""

    name: str
    pixels: int
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The section: warnings, sentences, charts, a row for each class, mistakes and images.

    Without `pseudo_labels`, the first three shares of every row are not known.
    """

    alarms: tuple[Alarm, ...]
    sentences: tuple[str, ...]
    charts: tuple[Chart, ...]
    classes: tuple[TrustRow, ...]
    pseudo_labels: bool
    confusion: tuple[ConfusionRow, ...]
    mistakes: tuple[str, ...]
    worst: tuple[ImageTrust, ...]
    best: tuple[ImageTrust, ...]


def trust(record: RunRecord) -> Trust | None:
    """Return what is known of pseudo-labels and of the newest evaluation; None where nothing is."""
    quality = record.quality
    if not record.windows and quality is None and "train/confident" not in record.metrics:
        return None
    of_training = (_confident_chart(record), _class_chart(record), _conflict_chart(record))
    drawn = (*of_training, _right_chart(record), _reliability(quality))
    images = sorted(quality.images, key=lambda image: image.iou) if quality else []
    half = min(_IMAGES, len(images) // 2)
    return Trust(
        alarms=tuple(alarms(record.windows, record.window_classes, record.length)),
        sentences=(*_of_pseudo_labels(record), *_of_quality(quality, labeled_only(record)), *_of_decline(record)),
        charts=tuple(chart for chart in drawn if chart),
        classes=tuple(_rows(record)),
        pseudo_labels=bool(record.windows),
        confusion=tuple(_confusion(quality)),
        mistakes=tuple(_mistakes(quality)),
        worst=tuple(images[:half]),
        best=tuple(reversed(images[len(images) - half :])),
    )


def _of_pseudo_labels(record: RunRecord) -> list[str]:
    if not record.windows:
        return []
    apart = distance(prior(record.windows), record.windows[-1].pseudo_K)
    return [
        f"By the shares of their classes, pseudo-labels differ from labels in {percent(apart)} of the pixels "
        "(total variation distance, newest window)."
    ]


def _of_quality(quality: QualityRecord | None, labels_alone: bool) -> list[str]:
    if quality is None:
        return []
    teaches = "pseudo-labels of this model would be" if labels_alone else "is what teaches"
    said = [
        f"On val images, {percent(quality.kept)} of the pixels are at confidence {quality.threshold:g} or more, and "
        f"{points(quality.kept_right)} % of those are right: so reliable {teaches}, on images like these.",
        f"Confidence is off by {points(quality.ece)} points in the mean (expected calibration error).",
    ]
    if quality.disagreement is not None:
        said.append(f"Student and teacher disagree on {points(quality.disagreement)} % of the pixels.")
    if quality.rank_agreement is not None:
        said.append(
            f"Predicted quality, which needs no mask, ranks the val images as their IoU does with a correlation of "
            f"{quality.rank_agreement:.2f} (1: alike, 0: by chance)."
        )
    return said


def _of_decline(record: RunRecord) -> list[str]:
    best = record.best()
    if best is None:
        return []
    name, top = next(iter(best.figures.items()))
    last = record.last(f"{name}/{record.score}")
    if last is None or top - last.value <= _WORSE:
        return []
    remedies = "a shorter training, a lower rate or a lower consistency.weight"
    if labeled_only(record):
        remedies = "a shorter training or a lower rate"
    return [
        f"The last {name} is {points(top - last.value)} points below the best one, of step {best.step:,}, which was "
        f"kept: {remedies} may do."
    ]


def _confident_chart(record: RunRecord) -> Chart | None:
    found = record.metrics.get("train/confident", ())
    if not found:
        return None
    threshold = record.setting("consistency.threshold") or str(THRESHOLD)
    area = None
    if threshold == str(THRESHOLD) and record.length > 0:
        band = healthy_band(record.setting("data.spec"))
        places = (record.length / 60, record.length / 3, float(record.length))  # most published runs have 60 epochs
        area = Area(name="published runs", points=[(x, *ends) for x, ends in zip(places, band, strict=True)])
    return line_chart(
        f"Pixels of confidence {threshold} or more",
        [Line(name="share", points=[(point.step, point.value) for point in found])],
        x_name="step",
        show=percent,
        y_range=(0.0, 1.0),
        area=area,
    )


def _class_chart(record: RunRecord) -> Chart | None:
    """Draw the confident part of the pseudo-labels of the largest classes over time."""
    if not record.windows:
        return None
    largest = sorted(np.argsort(-prior(record.windows), kind="stable")[:_CURVES])
    lines = [
        Line(
            name=record.window_classes[k],
            points=[(w.step, float(w.confident_K[k] / w.pseudo_K[k])) for w in record.windows if w.pseudo_K[k] > _NONE],
            series=place,
        )
        for place, k in enumerate(largest, start=1)
    ]
    return line_chart("The same, by pseudo-label", lines, x_name="step", show=percent, y_range=(0.0, 1.0))


def _conflict_chart(record: RunRecord) -> Chart | None:
    """Draw whether labels and pseudo-labels pull the same way, where that was measured (`schedule.conflict_every`)."""
    found = record.metrics.get("train/gradient_cosine", ())
    return line_chart(
        "Labels and pseudo-labels: cosine of their gradients",
        [Line(name="cosine", points=[(point.step, point.value) for point in found])],
        x_name="step",
        show="{:+.2f}".format,
        y_range=(-1.0, 1.0),
    )


def _right_chart(record: RunRecord) -> Chart | None:
    """Draw, over time, how much of the val pixels would teach, and how much of that is right."""
    named = (("right among confident", "quality/kept_right"), ("confident", "quality/kept"))
    lines = [
        Line(name=name, points=[(point.step, point.value) for point in record.metrics.get(key, ())])
        for name, key in named
    ]
    return line_chart("Val pixels, where the truth is known", lines, x_name="step", show=percent, y_range=(0.0, 1.0))


def _reliability(quality: QualityRecord | None) -> Chart | None:
    if quality is None:
        return None
    total = sum(pixels for pixels, _, _ in quality.bins)
    found = [
        (100 * min(confidence / pixels, 1.0), min(right / pixels, 1.0))
        for pixels, right, confidence in quality.bins
        if pixels > _BIN * total
    ]
    return line_chart(
        "Is it right as often as it is sure?",
        [
            Line(name="as sure as right", points=[(0.0, 0.0), (100.0, 1.0)], reference=True, value=""),
            Line(name="val pixels", points=found, series=1, value=f"off by {points(quality.ece)}"),
        ],
        x_name="confidence, percent",
        show=percent,
        y_range=(0.0, 1.0),
    )


def _rows(record: RunRecord) -> list[TrustRow]:
    """Return a row for each class that windows or the evaluation know."""
    card = record.card
    colours: Mapping[str, Colour] = dict(zip(card.classes, card.palette, strict=True)) if card else {}
    known = record.quality.classes if record.quality else {}
    shares: dict[str, tuple[float, float, float | None]] = {}
    if record.windows:
        last = record.windows[-2:]
        pseudo_K = np.mean([window.pseudo_K for window in last], axis=0)
        confident_K = np.mean([window.confident_K for window in last], axis=0)
        for name, labeled, pseudo, sure in zip(
            record.window_classes, prior(record.windows), pseudo_K, confident_K, strict=True
        ):
            shares[name] = float(labeled), float(pseudo), float(sure / pseudo) if pseudo > _NONE else None
    rows = []
    for name in dict.fromkeys((*shares, *known)):
        labeled, pseudo, confident = shares.get(name, (None, None, None))
        found = known.get(name)
        right = found.kept_right / found.kept if found and found.kept else None
        rows.append(
            TrustRow(
                name=name,
                colour=colours.get(name),
                labeled=labeled,
                pseudo=pseudo,
                confident=confident,
                right=right,
                predicted=found.predicted if found else None,
            )
        )
    return rows


def _parts(confusion_KK: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each row by the pixels of its class."""
    parts_KK: NDArray[np.float64] = confusion_KK / np.maximum(confusion_KK.sum(axis=1, keepdims=True), 1)
    return parts_KK


def _confusion(quality: QualityRecord | None) -> list[ConfusionRow]:
    if quality is None or not 0 < len(quality.classes) <= _LARGEST_TABLE:
        return []
    pixels_K = quality.confusion_KK.sum(axis=1)
    return [
        ConfusionRow(name=name, pixels=int(pixels), shares=tuple(map(float, shares)))
        for name, pixels, shares in zip(quality.classes, pixels_K, _parts(quality.confusion_KK), strict=True)
    ]


def _mistakes(quality: QualityRecord | None) -> list[str]:
    """Name the pairs of classes that most pixels are mistaken in."""
    if quality is None:
        return []
    names, parts_KK = list(quality.classes), _parts(quality.confusion_KK)
    wrong_KK = quality.confusion_KK * (1 - np.eye(len(names), dtype=np.int64))
    order: Sequence[int] = np.argsort(-wrong_KK, axis=None, kind="stable")[:_MISTAKES].tolist()
    pairs = [divmod(place, len(names)) for place in order]
    return [
        f"{names[said]} instead of {names[true]}: {points(parts_KK[true, said])} % of {names[true]}"
        for true, said in pairs
        if wrong_KK[true, said]
    ]
