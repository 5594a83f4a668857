"""What a data set is: its classes, colours, ignore value, evaluation protocol and lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.bands import Shown, bands_of
from semiseg.data.colours import Key, key_of, match_colours, unknown_colours
from semiseg.data.palette import Colour
from semiseg.data.reading import MAX_PIXELS, read_drawing, read_mask
from semiseg.data.reduction import reduce_mask
from semiseg.data.spec_values import (
    read_bands,
    read_byte,
    read_concepts,
    read_folder,
    read_frames,
    read_ignore_colour,
    read_levels,
    read_lists,
    read_mask_values,
    read_palette,
)
from semiseg.data.yaml_file import read_yaml
from semiseg.errors import DataError, closest

Protocol = Literal["original", "sliding"]
Score = Literal["miou", "changed_iou"]

SCORE_NAMES: dict[str, str] = {"miou": "mIoU", "changed_iou": "changed IoU"}
"""What a score is called where people read it."""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """The facts of a data set, from its `dataset.yaml` or from a spec that ships with the package.

    Attributes:
        name: shown in logs and reports.
        classes: class names; a class id is an index into them.
        ignore_value: id of what is neither learned nor evaluated, 0..255.
        palette: one RGB colour a class.
        bands: the bands of an image that are shown as red, green and blue, or one that is shown as gray, from 1; empty:
            those of an image of one or three.
        levels: the values that become 0 and 255, for each of these bands; empty: images have 8 bits.
        ignore_colour: the RGB colour of what is ignored, in masks that are matched by colour.
        protocol: `original` evaluates whole images, `sliding` windows of the crop's size.
        lists: paths of list files relative to the root, for `labeled`, `unlabeled` and `val`.
        frames: folder of each frame of the training samples, below the root: one of images, or two of which the second
            shows the same places as the first at another time, under the same names.
        masks: folder of their masks below the root; a mask has its image's name and place, but for the suffix.
        mask_values: the class id, or `ignore_value`, that each value in a mask's file stands for, where the file does
            not hold ids itself (LEVIR-CD: 0 and 255); other values are faults.
        concepts: what a class may look like, in a few words each, by class; for methods that ask a model of images and
            texts. A class that is not in it is described by its name.
        by_colour: whether masks with colours are matched with the palette; true where a file gives one of different
            colours and no `mask_values`.
        accept_predicted: whether masks that `semiseg predict` wrote are taken for labels; from `DataConfig`, in no
            file.
        long_side: images whose longer side is longer, and their masks, are read reduced to so many pixels; from
            `DataConfig`, or of a model that was trained so, in no file.
    """

    name: str
    classes: tuple[str, ...]
    ignore_value: int = 255
    palette: tuple[Colour, ...] = ()
    ignore_colour: Colour | None = None
    bands: tuple[int, ...] = ()
    levels: tuple[tuple[float, float], ...] = ()
    protocol: Protocol = "original"
    lists: dict[str, str] = field(default_factory=dict)
    frames: tuple[str, ...] = ("images",)
    masks: str = "masks"
    mask_values: dict[int, int] | None = None
    concepts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    by_colour: bool = False
    accept_predicted: bool = False
    long_side: int | None = None

    @property
    def definitions(self) -> dict[str, tuple[str, ...]]:
        """The concepts, one or more, of each class in order."""
        return {name: self.concepts.get(name, (name,)) for name in self.classes}

    @property
    def colour_key(self) -> Key:
        """Which colour of a mask stands for what."""
        return key_of(self.classes, self.palette, self.ignore_colour, self.ignore_value)

    @property
    def meaning(self) -> str:
        """All that decides what the pixels of a mask's file stand for, in one line."""
        colours = (self.palette, self.ignore_colour) if self.by_colour else None
        return repr((self.num_classes, self.ignore_value, self.mask_values, colours, self.accept_predicted))

    @property
    def shown(self) -> Shown:
        """How images are shown to a model."""
        return Shown(bands=bands_of(self.bands, self.levels), long_side=self.long_side)

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.classes)

    @property
    def score(self) -> Score:
        """What the best model is chosen by: IoU of the changed class for change detection, else the mean of all."""
        return "changed_iou" if len(self.frames) == 2 and self.num_classes == 2 else "miou"

    @property
    def values(self) -> tuple[int, ...]:
        """The values that a mask's file may hold, ascending."""
        ids = {*range(self.num_classes), self.ignore_value}
        return tuple(sorted(ids if self.mask_values is None else self.mask_values))

    def class_ids(self, mask_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class ids (and `ignore_value`) that the values of a mask's file, all of them known, stand for."""
        if self.mask_values is None:
            return mask_HW
        table = np.zeros(256, dtype=np.uint8)
        table[list(self.mask_values)] = list(self.mask_values.values())
        ids_HW: NDArray[np.uint8] = table[mask_HW]
        return ids_HW


PAIRS = DatasetSpec(
    name="pairs",
    classes=("unchanged", "changed"),
    palette=((44, 52, 66), (94, 190, 255)),
    frames=("A", "B"),
    masks="label",
    mask_values={0: 0, 1: 1, 255: 1},
)
"""What a folder of pairs is that does not say: laid out as LEVIR-CD, its masks 0/255 or 0/1."""


_COLOUR_REMEDY = (
    "correct the mask or `palette` in dataset.yaml; name a colour to ignore by `ignore_colour: [R, G, B]`; where the "
    "values of the mask are class ids whatever its colours, leave `palette` out"
)


Part = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Takes a part of a mask's values (H, W) or colours (H, W, 3)."""


def read_class_ids(
    path: Path, spec: DatasetSpec, max_pixels: int = MAX_PIXELS, part: Part = lambda mask: mask
) -> NDArray[np.uint8]:
    """Read a mask of a data set as class ids and its ignore value (H, W), uint8, in the size at which images are read.

    Args:
        path: of the mask.
        spec: of the data set.
        max_pixels: largest mask that is opened.
        part: what is wanted of the mask; the rest is decoded, not looked at.

    Raises:
        DataError: as `read_mask`; or a value, or colour, that stands for neither a class nor the ignore value.
    """
    drawing = read_drawing(path, max_pixels, accept_predicted=spec.accept_predicted) if spec.by_colour else None
    if drawing is None:
        values_HW = read_mask(path, max_pixels, accept_predicted=spec.accept_predicted)
        return to_class_ids(part(reduce_mask(values_HW, spec.long_side)), path, spec)
    pixels = part(reduce_mask(drawing.pixels, spec.long_side))
    matched = match_colours(replace(drawing, pixels=pixels), spec.colour_key)
    if matched.unknown:
        raise unknown_colours(matched.unknown, spec.colour_key, path, _COLOUR_REMEDY)
    return matched.ids_HW


def to_class_ids(values_HW: NDArray[np.uint8], path: Path, spec: DatasetSpec) -> NDArray[np.uint8]:
    """Return what the values of a mask, read from `path`, stand for.

    Raises:
        DataError: a value that stands for neither a class nor the ignore value.
    """
    known = spec.values
    wrong = [value for value in present_values(values_HW) if value not in known]
    if wrong:
        raise _wrong_values(wrong, path, spec)
    return spec.class_ids(values_HW)


def present_values(mask_HW: NDArray[np.uint8]) -> dict[int, int]:
    """Return the values in a mask, ascending, and the number of pixels of each."""
    # NumPy counts bytes as numbers of eight bytes, which are made first.
    counts = Image.fromarray(mask_HW).histogram()
    return {value: count for value, count in enumerate(counts) if count}


def _wrong_values(wrong: list[int], path: Path, spec: DatasetSpec) -> DataError:
    if spec.mask_values is None:
        expected = f"0 to {spec.num_classes - 1}, or {spec.ignore_value} to ignore"
    else:
        expected = ", ".join(map(str, spec.values))
    return DataError(
        f"mask values {wrong[:8]} are no class",
        where=path,
        expected=expected,
        remedy="renumber the mask, or correct classes, ignore_value and mask_values in dataset.yaml",
    )


def read_spec(path: Path) -> DatasetSpec:
    """Read a `dataset.yaml`.

    Raises:
        DataError: an unknown or missing key, or a value of the wrong kind.
    """
    content = read_yaml(path, DataError)
    known = [
        item.name for item in fields(DatasetSpec) if item.name not in ("accept_predicted", "by_colour", "long_side")
    ]
    for key in content:
        if key not in known:
            raise DataError(f"unknown key {key!r}{closest(str(key), known)}", where=path, remedy="correct the key")
    classes = content.get("classes")
    if (
        not isinstance(classes, list)
        or not all(isinstance(name, str) and 1 <= len(name) <= 100 and name.isprintable() for name in classes)
        or not 2 <= len(set(classes)) == len(classes) <= 255
    ):
        raise DataError(
            "classes is not a list of 2 to 255 different names",
            where=path,
            expected="classes: [NAME, NAME, ...], where a mask's value is the place in the list, from 0; "
            "each name of 1 to 100 printable characters",
            remedy="list the class names",
        )
    ignore = read_byte(content.get("ignore_value", "255"))
    if ignore is None:
        raise DataError(
            f"ignore_value is {content['ignore_value']!r}", where=path, expected="0 to 255", remedy="correct the value"
        )
    protocol = content.get("protocol", "original")
    if protocol not in ("original", "sliding"):
        raise DataError(
            f"protocol is {protocol!r}", where=path, expected="original or sliding", remedy="correct the value"
        )
    palette = read_palette(content.get("palette"), len(classes), path)
    bands = read_bands(content.get("bands"), path)
    return DatasetSpec(
        name=str(content.get("name") or path.resolve().parent.name),
        classes=tuple(classes),
        ignore_value=ignore,
        palette=palette,
        bands=bands,
        levels=read_levels(content.get("levels"), bands, path),
        ignore_colour=read_ignore_colour(content.get("ignore_colour"), palette, path),
        protocol=protocol,
        lists=read_lists(content.get("lists"), path),
        frames=read_frames(content.get("frames", ["images"]), path),
        masks=read_folder(content.get("masks", "masks"), "masks", path),
        mask_values=read_mask_values(content.get("mask_values"), {*range(len(classes)), ignore}, path),
        concepts=read_concepts(content.get("concepts", {}), classes, path),
        by_colour=content.get("palette") is not None
        and content.get("mask_values") is None
        and len(set(palette)) == len(palette),
    )


def shipped_specs() -> dict[str, Path]:
    """Return the specs that ship with the package, by name."""
    folder = Path(str(resources.files("semiseg.data.specs")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
