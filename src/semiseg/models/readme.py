"""The `README.md` of a saved model, which the hub shows as its page: what it is, how to use it, how good it is."""

from __future__ import annotations

import re

from huggingface_hub import EvalResult, ModelCardData

from semiseg.models.card import ModelCard
from semiseg.models.encoders import LICENSES, needed_license
from semiseg.models.encoders.licenses import License

_SCORES = {"miou": ("mean_iou", "val mIoU"), "changed_iou": ("iou", "val IoU of the changed class")}
"""The figures that the hub lists: its type of metric, and what is shown."""

_STEP = "step"
"""The metric that is the time of the model in its training."""

_ID = re.compile(r"[\w.-]{1,96}")
"""What the hub takes for the name of a data set."""


def render_readme(card: ModelCard, *, name: str = "DIR", license: str | None = None) -> str:
    """Return the page of a model.

    Args:
        card: of the model.
        name: what stands for the model in the commands: `hf:OWNER/NAME`, or `DIR` for the folder of the page.
        license: of the model, as the hub names it (`apache-2.0`); default: none but what the encoder's weights demand.
    """
    classes = [
        f"| {index} | {_cell(label)} | #{red:02x}{green:02x}{blue:02x} |"
        for index, (label, (red, green, blue)) in enumerate(zip(card.classes, card.palette, strict=True))
    ]
    metrics = [f"| {_cell(metric)} | {value:.4f} |" for metric, value in card.metrics.items() if metric != _STEP]
    table = ["", "## Figures", "", *_judged_on(card), "| metric | value |", "|---|---|", *metrics] if metrics else []
    head = _PAGE.format(
        about=front_matter(card, license),
        task=_task(card),
        card=card,
        name=name,
        terms=_terms(card),
        large=_large(card),
        learned=_learned(card),
    )
    of_folder = ["`DIR` is the folder of this file.", ""] if name == "DIR" else []
    return "\n".join([head, *of_folder, *_CLASSES.format(card=card).splitlines(), *classes, *table, ""])


def front_matter(card: ModelCard, license: str | None = None) -> str:
    """Return what the hub reads about a model, as YAML: library, task, licence, tags, data set and metrics."""
    terms = _license_of_weights(card)
    other = terms is not None and license is None
    training = card.training
    data = ModelCardData(
        library_name="semiseg",
        pipeline_tag="image-segmentation",
        license="other" if other else license,
        license_name=_slug(terms.title) if other and terms else None,
        license_link=terms.url if other and terms else None,
        tags=["semiseg", *(["change-detection"] if card.frames == 2 else []), *([training.method] if training else [])],
        datasets=[training.dataset] if training and _ID.fullmatch(training.dataset) else None,
        model_name=training.dataset if training else "semiseg",
        eval_results=_results(card) or None,
    )
    return str(data.to_yaml())


def _results(card: ModelCard) -> list[EvalResult]:
    """Return the figures that the hub lists, of models whose data set is known."""
    if card.training is None:
        return []
    return [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=card.training.dataset,
            dataset_name=card.training.dataset,
            dataset_split="val",
            metric_type=kind,
            metric_name=title,
            metric_value=round(card.metrics[name], 4),
        )
        for name, (kind, title) in _SCORES.items()
        if name in card.metrics
    ]


def _task(card: ModelCard) -> str:
    return "change detection (pairs of images)" if card.frames == 2 else "semantic segmentation"


def _learned(card: ModelCard) -> str:
    """Return a sentence on what the model has learned from, nothing where that is not known."""
    training, kind = card.training, "pairs" if card.frames == 2 else "images"
    if training is None:
        return ""
    return (
        f"It learned `{_plain(training.dataset)}` from {training.labeled:,} labeled "
        f"and {training.unlabeled:,} unlabeled {kind} by `{_plain(training.method)}`.\n"
    )


def _large(card: ModelCard) -> str:
    """Return a sentence on large pictures, where the model sees them reduced."""
    if card.long_side is None:
        return ""
    return (
        f"Pictures longer than {card.long_side:,} pixels are shown to it reduced to that, and its figures are of this "
        "size; masks come back in the size of the picture.\n"
    )


def _judged_on(card: ModelCard) -> list[str]:
    """Return what the figures are about, as far as it is known, and an empty line."""
    training, kind = card.training, "pairs" if card.frames == 2 else "images"
    on = f"on {training.val:,} val {kind}, " if training else ""
    after = f", after {card.metrics[_STEP]:.0f} steps" if _STEP in card.metrics else ""
    return [f"Measured {on}as fractions{after}.", ""]


def _license_of_weights(card: ModelCard) -> License | None:
    """Return the terms of the encoder's weights, if they are not free for every use."""
    model = card.model
    if model.weights == "random" or model.license is None or model.license != needed_license(model.encoder):
        return None
    return LICENSES[model.license]


def _terms(card: ModelCard) -> str:
    if (terms := _license_of_weights(card)) is None:
        return ""
    return (
        f"\nThe encoder's weights are under the [{terms.title}]({terms.url}): read it before passing this model on.\n"
    )


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _slug(text: str) -> str:
    """Return a name as the hub writes those of licences."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _plain(text: str) -> str:
    return text.replace("`", "'")


_PAGE = """\
---
{about}
---
# A model for {task}

`{card.model.encoder}` with the decoder `{card.model.decoder}`, trained on crops of {card.crop} pixels and
evaluated by the `{card.protocol}` protocol.
{large}{learned}{terms}
## Use

```
semiseg predict {name} IMAGES --out masks/
```

```python
import semiseg

model = semiseg.load("{name}")
mask_HW = model.mask("photo.jpg")
```
"""

_CLASSES = """\
## Classes

Pixels of the value {card.ignore_value} belong to no class.

| id | name | colour |
|---|---|---|"""
