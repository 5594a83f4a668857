"""What a model is sure of as labels to correct: `--as-labels`. Marked, so that nothing takes them for a person's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import yaml

from semiseg.data import Sample
from semiseg.data.imports.images import linked
from semiseg.data.imports.machine import mark_labels
from semiseg.data.palette import IGNORED, Colour, Palette, default_palette
from semiseg.data.predicted import png_mark
from semiseg.engine.pictures import indexed_image, save_picture
from semiseg.errors import ConfigError, DataError, closest
from semiseg.files import whole_folder, write_text
from semiseg.models import ModelCard
from semiseg.suggestion.formats import Labeled, coco, cvat, label_config, label_studio
from semiseg.suggestion.kept_masks import KeptMasks
from semiseg.suggestion.uncertainty import IGNORED_ID, Mask, Models

Format = Literal["png", "coco", "cvat", "labelstudio"]
FORMATS: tuple[Format, ...] = get_args(Format)
_FILES = {"coco": "instances.json", "cvat": "annotations.xml", "labelstudio": "tasks.json"}
_NO_CLASS: tuple[Colour, ...] = (IGNORED, (255, 255, 255), (255, 0, 255), (0, 255, 255))
"""Colours for what is left open; the first that no class has is taken."""


def refuse_labels(models: Models | None, format: str) -> None:
    """Refuse labels that cannot be made, before anything is looked at.

    Raises:
        ConfigError: there is no model, it is one of pairs, or the format is unknown.
    """
    if format not in FORMATS:
        raise ConfigError(
            f"unknown format {format!r}{closest(format, FORMATS)}",
            expected=", ".join(FORMATS),
            remedy="name one of these",
        )
    if models is None:
        raise ConfigError("labels to correct need a model", remedy="name a run, or leave --as-labels out")
    if models.predictor.card.frames > 1:
        raise ConfigError(
            "annotation tools show single images, and this model is one of pairs",
            remedy="leave --as-labels out; the folder of suggestions holds the masks",
        )


def write_labels(
    folder: Path,
    samples: Sequence[Sample],
    first: str,
    card: ModelCard,
    masks: KeptMasks,
    format: Format,
) -> None:
    """Write a folder of images (links) and labels, whole or not at all.

    Args:
        folder: where; it does not exist yet.
        samples: the images.
        first: the folder of images in the data set, which names in it are below.
        card: of the model.
        masks: what it is sure of, by the ids of the images.
        format: `png` makes a data folder; the others a file that a tool takes in.

    Raises:
        DataError: two images would share a mask.
        FileError: it cannot be written.
    """
    places = _places(samples, first)
    palette = card.palette if len({*card.palette}) == len(card.classes) else default_palette(len(card.classes))
    labeled = []
    with whole_folder(folder) as draft:
        for sample, place in zip(samples, places, strict=True):
            _put(sample.frames[0], draft / "images" / place, (folder / "images" / place).parent)
            item = Labeled(place=place, mask_HW=masks[sample.id])
            if format == "png":
                _save(item.mask_HW, draft / "masks" / f"{place.rpartition('.')[0]}.png", palette)
            else:
                labeled.append(item)
        if format != "png":
            write_text(draft / _FILES[format], _text(format, labeled, card, palette, folder))
        if format == "labelstudio":
            write_text(draft / "label_config.xml", label_config(card.classes, palette))
        _write_spec(draft / "dataset.yaml", folder.name, card, palette)
        mark_labels(draft, sorted((draft / "masks").rglob("*.png")) or [draft / _FILES[format]])


def _places(samples: Sequence[Sample], first: str) -> list[str]:
    """Return where each image stands below `images`: as below the data set's own folder, else by its path."""
    places = [sample.id.removeprefix(f"{first}/").lstrip("/") for sample in samples]
    stems: dict[str, str] = {}
    for place in places:
        other = stems.setdefault(place.rpartition(".")[0], place)
        if other != place:
            raise DataError(
                f"{other} and {place} would share a mask",
                expected="one image of a name, whatever its suffix",
                remedy="rename one of them",
            )
    return places


def _put(image: Path, target: Path, home: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not linked(image, target, home):
        target.write_bytes(image.read_bytes())


def _save(mask_HW: Mask, path: Path, palette: Palette) -> None:
    image = indexed_image(mask_HW, palette)
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(palette)] = palette
    colours[IGNORED_ID] = _open(palette)
    image.putpalette(colours.tobytes())
    save_picture(image, path, pnginfo=png_mark())


def _open(palette: Palette) -> Colour:
    """Return the colour of what is left open."""
    return next(colour for colour in _NO_CLASS if colour not in palette)


def _text(format: Format, labeled: Sequence[Labeled], card: ModelCard, palette: Palette, folder: Path) -> str:
    if format == "coco":
        return coco(labeled, card.classes)
    if format == "cvat":
        return cvat(labeled, card.classes, palette)
    return label_studio(labeled, card.classes, folder.absolute().name)


def _write_spec(path: Path, name: str, card: ModelCard, palette: Palette) -> None:
    content = {
        "name": name,
        "classes": list(card.classes),
        "ignore_value": IGNORED_ID,
        "palette": [list(colour) for colour in palette],
        "ignore_colour": list(_open(palette)),
    }
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100))
