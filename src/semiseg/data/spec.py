"""What a data set is: its classes, colours, ignore value, evaluation protocol and lists."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.colours import Key, key_of, match_colours, unknown_colours
from semiseg.data.palette import Colour, default_palette
from semiseg.data.reading import MAX_PIXELS, read_drawing, read_mask
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
    """

    name: str
    classes: tuple[str, ...]
    ignore_value: int = 255
    palette: tuple[Colour, ...] = ()
    ignore_colour: Colour | None = None
    protocol: Protocol = "original"
    lists: dict[str, str] = field(default_factory=dict)
    frames: tuple[str, ...] = ("images",)
    masks: str = "masks"
    mask_values: dict[int, int] | None = None
    concepts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    by_colour: bool = False
    accept_predicted: bool = False

    @property
    def definitions(self) -> dict[str, tuple[str, ...]]:
        """The concepts, one or more, of each class in order."""
        return {name: self.concepts.get(name, (name,)) for name in self.classes}

    @property
    def colour_key(self) -> Key:
        """Which colour of a mask stands for what."""
        return key_of(self.classes, self.palette, self.ignore_colour, self.ignore_value)

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


def read_class_ids(path: Path, spec: DatasetSpec, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a mask of a data set as class ids and its ignore value (H, W), uint8.

    Raises:
        DataError: as `read_mask`; or a value, or colour, that stands for neither a class nor the ignore value.
    """
    drawing = read_drawing(path, max_pixels, accept_predicted=spec.accept_predicted) if spec.by_colour else None
    if drawing is None:
        return to_class_ids(read_mask(path, max_pixels, accept_predicted=spec.accept_predicted), path, spec)
    matched = match_colours(drawing, spec.colour_key)
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
    known = [item.name for item in fields(DatasetSpec) if item.name not in ("accept_predicted", "by_colour")]
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
    ignore = _byte(content.get("ignore_value", "255"))
    if ignore is None:
        raise DataError(
            f"ignore_value is {content['ignore_value']!r}", where=path, expected="0 to 255", remedy="correct the value"
        )
    protocol = content.get("protocol", "original")
    if protocol not in ("original", "sliding"):
        raise DataError(
            f"protocol is {protocol!r}", where=path, expected="original or sliding", remedy="correct the value"
        )
    palette = _read_palette(content.get("palette"), len(classes), path)
    return DatasetSpec(
        name=str(content.get("name") or path.resolve().parent.name),
        classes=tuple(classes),
        ignore_value=ignore,
        palette=palette,
        ignore_colour=_read_ignore_colour(content.get("ignore_colour"), palette, path),
        protocol=protocol,
        lists=_read_lists(content.get("lists"), path),
        frames=_read_frames(content.get("frames", ["images"]), path),
        masks=_read_folder(content.get("masks", "masks"), "masks", path),
        mask_values=_read_mask_values(content.get("mask_values"), {*range(len(classes)), ignore}, path),
        concepts=_read_concepts(content.get("concepts", {}), classes, path),
        by_colour=content.get("palette") is not None
        and content.get("mask_values") is None
        and len(set(palette)) == len(palette),
    )


def _read_palette(value: Any, count: int, path: Path) -> tuple[Colour, ...]:
    if value is None:
        return default_palette(count)
    listed = [colour for colour in value if isinstance(colour, list)] if isinstance(value, list) else []
    colours = [[part for part in map(_byte, colour) if part is not None] for colour in listed]
    if len(colours) != count or any(len(colour) != 3 for colour in (*listed, *colours)):
        raise DataError(
            "palette does not give one colour a class",
            where=path,
            expected=f"{count} lists of three numbers from 0 to 255",
            remedy="correct the palette, or leave it out",
        )
    return tuple((red, green, blue) for red, green, blue in colours)


def _read_ignore_colour(value: Any, palette: tuple[Colour, ...], path: Path) -> Colour | None:
    if value is None:
        return None
    parts = [_byte(part) for part in value] if isinstance(value, list) else []
    red, green, blue = parts if len(parts) == 3 else (None, None, None)
    if red is None or green is None or blue is None or (red, green, blue) in palette:
        raise DataError(
            f"ignore_colour is {value!r}",
            where=path,
            expected="three numbers from 0 to 255, another colour than those of the palette",
            remedy="correct it, or leave it out",
        )
    return red, green, blue


def _byte(value: Any) -> int | None:
    """Return the number from 0 to 255 that a text holds, else None."""
    return int(value) if isinstance(value, str) and value.isdecimal() and int(value) <= 255 else None


def _read_lists(value: Any, path: Path) -> dict[str, str]:
    names = ("labeled", "unlabeled", "val")
    if value is None:
        return {}
    if not isinstance(value, dict) or any(key not in names or not isinstance(name, str) for key, name in value.items()):
        raise DataError("lists is not a mapping of " + ", ".join(names), where=path, remedy="name a list file for each")
    return value


def _read_frames(value: Any, path: Path) -> tuple[str, ...]:
    frames = [_read_folder(name, "frames", path) for name in value] if isinstance(value, list) else []
    if not 1 <= len(set(frames)) == len(frames) <= 2:
        raise DataError(
            f"frames is {value!r}",
            where=path,
            expected="a list of one folder, or of two different ones to detect changes between",
            remedy="correct it, or leave it out if the images are in images/",
        )
    return tuple(frames)


def _read_folder(name: Any, key: str, path: Path) -> str:
    folder = PurePosixPath(name) if isinstance(name, str) else None
    if folder is None or folder.is_absolute() or ".." in folder.parts:
        raise DataError(
            f"{key} is {name!r}",
            where=path,
            expected="a folder, relative to the data folder and inside it",
            remedy="correct it, or leave it out if the folder has its usual name",
        )
    return folder.as_posix()


def _read_mask_values(value: Any, ids: set[int], path: Path) -> dict[int, int] | None:
    if value is None:
        return None
    pairs = [(_byte(key), _byte(id_)) for key, id_ in value.items()] if isinstance(value, dict) else []
    found = {key: id_ for key, id_ in pairs if key is not None and id_ in ids}
    if not pairs or len(found) != len(pairs):
        raise DataError(
            f"mask_values is {value!r}",
            where=path,
            expected="a mapping from values in the masks, 0 to 255, to class ids or the ignore value",
            remedy="correct it, or leave it out if the masks hold class ids",
        )
    return found


def _read_concepts(value: Any, classes: list[str], path: Path) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not all(
        isinstance(words, list) and _are_texts(words) for words in value.values()
    ):
        raise DataError(
            "concepts does not describe classes",
            where=path,
            expected="a mapping from classes to lists of words, for example `car: [car, van]`",
            remedy="correct it, or leave it out if the names of the classes say enough",
        )
    for name in value:
        if name not in classes:
            raise DataError(
                f"concepts of {name!r}, which is no class{closest(str(name), classes)}",
                where=path,
                remedy="correct the name of the class",
            )
    return {name: tuple(words) for name, words in value.items()}


def _are_texts(words: list[Any]) -> bool:
    texts = {word for word in words if isinstance(word, str) and word.strip()}
    return 0 < len(texts) == len(words)


def shipped_specs() -> dict[str, Path]:
    """Return the specs that ship with the package, by name."""
    folder = Path(str(resources.files("semiseg.data.specs")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
