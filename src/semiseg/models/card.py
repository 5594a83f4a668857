"""What a saved model says about itself: the contents of its `config.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from semiseg.errors import ModelError, closest
from semiseg.models.config import MAX_CHANNELS, ModelConfig, Trains
from semiseg.models.decoders import DECODERS
from semiseg.models.encoders import LICENSES
from semiseg.models.necks import NECKS

VERSION = 4
"""The version of the layout; a reader refuses a higher one. Version 1 said `freeze_encoder` for `trains: decoder`,
version 2 had no `training`, version 3 neither `long_side` nor `evidence`."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a model has learned from, for who reads about it. Checked with its card."""

    dataset: str
    """Name of the data set."""
    method: str
    """Name of the method."""
    labeled: int
    """Labeled images, or pairs."""
    unlabeled: int
    """Unlabeled ones that were learned from."""
    val: int
    """Images, or pairs, that the metrics are about."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is needed to use a model, and how good it is. Checked when it is made.

    Raises:
        ModelError: a value of the wrong type or out of range.
    """

    classes: tuple[str, ...]
    """Names of the classes; their order is the order of the logits."""
    palette: tuple[tuple[int, int, int], ...]
    """A colour (red, green, blue, each 0 to 255) for every class."""
    ignore_value: int = 255
    """The value of mask pixels that belong to no class, 0 to 255."""
    frames: int = 1
    """Images in a sample: 1 for segmentation, 2 for change detection."""
    crop: int
    """Side of the training crop in pixels, the window of the sliding protocol."""
    protocol: Literal["original", "sliding"] = "original"
    """How images are shown to the model: whole, resized to multiples of the patch, or in windows."""
    tile: int | None = None
    """Longest side, in pixels, of an image that was evaluated in one piece; None: as the protocol has it."""
    bands: tuple[int, ...] = ()
    """The bands of an image that the model sees as red, green and blue, or one as gray, from 1; empty: photographs."""
    levels: tuple[tuple[float, float], ...] = ()
    """The values that become 0 and 255, for each of these bands; empty: images have 8 bits."""
    long_side: int | None = None
    """Pictures whose longer side is longer are shown to the model reduced to so many pixels; None: as they are."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What the model was trained and evaluated in; `auto`: bf16 where the device is fast at it."""
    model: ModelConfig
    """The network."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What it reached, by name, as finite fractions."""
    training: Training | None = None
    """What it has learned from; None: not known."""
    version: int = VERSION
    """The version of the layout."""

    def __post_init__(self) -> None:
        for name, good, expected in (*_card_rules(self), *_model_rules(self.model)):
            if not good:
                raise ModelError(
                    f"the model card has a wrong value of {name!r}",
                    expected=expected,
                    remedy="correct it, or save the model again with this version of semiseg",
                )


def _card_rules(card: ModelCard) -> tuple[tuple[str, bool, str], ...]:
    return (
        ("version", _is_int(card.version, 1, VERSION), f"at most {VERSION}; a newer semiseg wrote this model"),
        ("classes", _is_names(card.classes), "1 to 255 names, each of 1 to 100 printable characters"),
        ("palette", _is_palette(card.palette, card.classes), "one (red, green, blue) of 0 to 255 for every class"),
        ("ignore_value", _is_int(card.ignore_value, 0, 255), "0 to 255"),
        ("frames", _is_int(card.frames, 1, 2), "1 or 2"),
        ("crop", _is_int(card.crop, 1, 2**14), "1 to 16384 pixels"),
        ("protocol", card.protocol in ("original", "sliding"), "original or sliding"),
        ("tile", card.tile is None or _is_int(card.tile, 1, 2**14), "1 to 16384 pixels, or null"),
        ("bands", _is_bands(card.bands), "numbers of one or three bands, from 1 to 512, or none"),
        ("levels", _is_levels(card.levels, card.bands), "a pair (low, high) for each of one or three bands, or none"),
        ("long_side", card.long_side is None or _is_int(card.long_side, 32, 2**31), "32 pixels or more, or null"),
        ("precision", card.precision in ("auto", "fp32", "bf16"), "auto, fp32 or bf16"),
        ("metrics", _is_metrics(card.metrics), "names with finite numbers"),
        (
            "training",
            card.training is None or _is_training(card.training),
            "names of a data set and a method, and counts",
        ),
        ("model", isinstance(card.model, ModelConfig), "the configuration of a model"),
    )


def _model_rules(model: ModelConfig) -> tuple[tuple[str, bool, str], ...]:
    widths = model.level_widths
    good_widths = widths is None or (_is_tuple(widths) and len(widths) == 4 and all(map(_is_channels, widths)))
    return (
        ("model.encoder", isinstance(model.encoder, str), "the name of an encoder"),
        ("model.neck", model.neck is None or _is_name(model.neck, NECKS), ", ".join((*NECKS, "null"))),
        ("model.decoder", _is_name(model.decoder, DECODERS), ", ".join(DECODERS)),
        ("model.weights", isinstance(model.weights, str), "hub, meta, random or a path"),
        (
            "model.license",
            model.license is None or _is_name(model.license, LICENSES),
            f"{', '.join(LICENSES)}, or null",
        ),
        ("model.features", model.features is None or _is_channels(model.features), f"1 to {MAX_CHANNELS}, or null"),
        ("model.level_widths", good_widths, f"four numbers of 1 to {MAX_CHANNELS}, or null"),
        ("model.text", model.text is None or isinstance(model.text, str), "a path, or null"),
        ("model.text_of", model.text_of in ("names", "concepts"), "names or concepts"),
        ("model.evidence", isinstance(model.evidence, bool), "true or false"),
        ("model.trains", model.trains in get_args(Trains), ", ".join(get_args(Trains))),
    )


def _is_name(value: object, table: Mapping[str, object]) -> bool:
    return isinstance(value, str) and value in table


def _is_int(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_channels(value: object) -> bool:
    return _is_int(value, 1, MAX_CHANNELS)


def _is_tuple(value: object) -> bool:
    return isinstance(value, tuple)


def _is_names(names: object) -> bool:
    return (
        isinstance(names, tuple)
        and 1 <= len(names) <= 255  # a pixel of a mask holds a byte
        and all(isinstance(name, str) and 1 <= len(name) <= 100 and name.isprintable() for name in names)
    )


def _is_palette(palette: object, classes: object) -> bool:
    return (
        isinstance(palette, tuple)
        and isinstance(classes, tuple)
        and len(palette) == len(classes)
        and all(_is_tuple(color) and len(color) == 3 and all(_is_int(c, 0, 255) for c in color) for color in palette)
    )


def _is_bands(bands: object) -> bool:
    return isinstance(bands, tuple) and len(bands) in (0, 1, 3) and all(_is_int(band, 1, 512) for band in bands)


def _is_levels(levels: object, bands: tuple[int, ...]) -> bool:
    return (
        isinstance(levels, tuple)
        and len(levels) in (0, 1, 3)
        and (not levels or not bands or len(bands) == len(levels))
        and all(isinstance(pair, tuple) and len(pair) == 2 and all(map(_is_finite, pair)) for pair in levels)
        and all(low < high for low, high in levels)
    )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_training(training: object) -> bool:
    return isinstance(training, Training) and (
        all(
            isinstance(name, str) and name.isprintable() and len(name) <= 200
            for name in (training.dataset, training.method)
        )
        and all(_is_int(count, 0, 2**40) for count in (training.labeled, training.unlabeled, training.val))
    )


def _is_metrics(metrics: object) -> bool:
    return isinstance(metrics, dict) and all(
        isinstance(name, str) and name.isprintable() and type(value) in (int, float) and math.isfinite(value)
        for name, value in metrics.items()
    )


def card_to_json(card: ModelCard) -> dict[str, Any]:
    """Return the card as what JSON can hold."""
    return asdict(card)


def card_from_json(data: object, where: object) -> ModelCard:
    """Read a card from parsed JSON.

    Raises:
        ModelError: not an object, a key unknown or missing, or a value of the wrong type or out of range.
    """
    values = _known_keys(ModelCard, data, where)
    values["model"] = ModelConfig(**_known_keys(ModelConfig, _of_version_1(values["model"]), where))
    if values.get("training") is not None:
        values["training"] = Training(**_known_keys(Training, values["training"], where))
    return ModelCard(**{**values, "version": VERSION} if values.get("version") in _EARLIER else values)


_EARLIER = (1, 2, 3)


def _of_version_1(model: object) -> object:
    if not isinstance(model, Mapping) or not isinstance(model.get("freeze_encoder"), bool):
        return model
    kept = {key: value for key, value in model.items() if key != "freeze_encoder"}
    return {**kept, "trains": "decoder" if model["freeze_encoder"] else "all"}


def _known_keys(kind: type[ModelCard | ModelConfig | Training], data: object, where: object) -> dict[str, Any]:
    """Return the items of a JSON object, lists as tuples, if its keys are those of a dataclass."""
    names = {entry.name for entry in fields(kind)}
    needed = {e.name for e in fields(kind) if e.default is MISSING and e.default_factory is MISSING}
    if not isinstance(data, Mapping):
        raise _unusable(f"no JSON object for {kind.__name__}", where)
    if unknown := sorted(data.keys() - names):
        raise _unusable(f"unknown key {unknown[0]!r} in {kind.__name__}{closest(unknown[0], names)}", where)
    if missing := sorted(needed - data.keys()):
        raise _unusable(f"key {missing[0]!r} missing in {kind.__name__}", where)
    return {name: _tuples(value) for name, value in data.items()}


def _unusable(what: str, where: object) -> ModelError:
    return ModelError(what, where=where, remedy="save the model again with this version of semiseg")


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
