"""The values of a `dataset.yaml`, read and checked one by one."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from semiseg.data.bands import MAX_BANDS, are_bands, are_levels
from semiseg.data.palette import Colour, default_palette
from semiseg.errors import DataError, closest


def read_palette(value: Any, count: int, path: Path) -> tuple[Colour, ...]:
    """Return one colour a class.

    Raises:
        DataError: it is something else.
    """
    if value is None:
        return default_palette(count)
    listed = [colour for colour in value if isinstance(colour, list)] if isinstance(value, list) else []
    colours = [[part for part in map(read_byte, colour) if part is not None] for colour in listed]
    if len(colours) != count or any(len(colour) != 3 for colour in (*listed, *colours)):
        raise DataError(
            "palette does not give one colour a class",
            where=path,
            expected=f"{count} lists of three numbers from 0 to 255",
            remedy="correct the palette, or leave it out",
        )
    return tuple((red, green, blue) for red, green, blue in colours)


def read_ignore_colour(value: Any, palette: tuple[Colour, ...], path: Path) -> Colour | None:
    """Return the colour of what is ignored, None if there is none.

    Raises:
        DataError: it is something else.
    """
    if value is None:
        return None
    parts = [read_byte(part) for part in value] if isinstance(value, list) else []
    red, green, blue = parts if len(parts) == 3 else (None, None, None)
    if red is None or green is None or blue is None or (red, green, blue) in palette:
        raise DataError(
            f"ignore_colour is {value!r}",
            where=path,
            expected="three numbers from 0 to 255, another colour than those of the palette",
            remedy="correct it, or leave it out",
        )
    return red, green, blue


def read_bands(value: Any, path: Path) -> tuple[int, ...]:
    """Return the bands that are shown.

    Raises:
        DataError: it is something else.
    """
    if value is None:
        return ()
    bands = [int(band) for band in value if _is_number(band, int)] if isinstance(value, list) else []
    if not are_bands(bands) or len(bands) != len(value):
        raise DataError(
            f"bands is {value!r}",
            where=path,
            expected=f"one or three numbers of bands, from 1 to {MAX_BANDS}: shown as gray, or as red, green and blue",
            remedy="correct it, or leave it out for images of one or three bands",
        )
    return tuple(bands)


def read_levels(value: Any, bands: tuple[int, ...], path: Path) -> tuple[tuple[float, float], ...]:
    """Return the values that become 0 and 255, for each band that is shown.

    Raises:
        DataError: it is something else.
    """
    if value is None:
        return ()
    pairs = [pair if isinstance(pair, list) else [] for pair in value] if isinstance(value, list) else []
    levels = [[float(level) for level in pair if _is_number(level, float)] for pair in pairs]
    if not are_levels(levels, len(bands)) or any(len(pair) != 2 for pair in pairs):
        raise DataError(
            f"levels is {value!r}",
            where=path,
            expected="for each of one or three bands [LOW, HIGH], the values that become 0 and 255",
            remedy="correct it, or leave it out and let `semiseg data levels` measure it",
        )
    return tuple((low, high) for low, high in levels)


def _is_number(value: Any, kind: type[int] | type[float]) -> bool:
    try:
        kind(value)
    except (TypeError, ValueError):
        return False
    return True


def read_byte(value: Any) -> int | None:
    """Return the number from 0 to 255 that a text holds, else None."""
    return int(value) if isinstance(value, str) and value.isdecimal() and int(value) <= 255 else None


def read_lists(value: Any, path: Path) -> dict[str, str]:
    """Return the lists by their part.

    Raises:
        DataError: it is something else.
    """
    names = ("labeled", "unlabeled", "val")
    if value is None:
        return {}
    if not isinstance(value, dict) or any(key not in names or not isinstance(name, str) for key, name in value.items()):
        raise DataError("lists is not a mapping of " + ", ".join(names), where=path, remedy="name a list file for each")
    return value


def read_frames(value: Any, path: Path) -> tuple[str, ...]:
    """Return the folder of each frame.

    Raises:
        DataError: it is something else.
    """
    frames = [read_folder(name, "frames", path) for name in value] if isinstance(value, list) else []
    if not 1 <= len(set(frames)) == len(frames) <= 2:
        raise DataError(
            f"frames is {value!r}",
            where=path,
            expected="a list of one folder, or of two different ones to detect changes between",
            remedy="correct it, or leave it out if the images are in images/",
        )
    return tuple(frames)


def read_folder(name: Any, key: str, path: Path) -> str:
    """Return a folder below the data folder.

    Raises:
        DataError: it is something else.
    """
    folder = PurePosixPath(name) if isinstance(name, str) else None
    if folder is None or folder.is_absolute() or ".." in folder.parts:
        raise DataError(
            f"{key} is {name!r}",
            where=path,
            expected="a folder, relative to the data folder and inside it",
            remedy="correct it, or leave it out if the folder has its usual name",
        )
    return folder.as_posix()


def read_mask_values(value: Any, ids: set[int], path: Path) -> dict[int, int] | None:
    """Return what each value in masks stands for, None if values are class ids.

    Raises:
        DataError: it is something else.
    """
    if value is None:
        return None
    pairs = [(read_byte(key), read_byte(id_)) for key, id_ in value.items()] if isinstance(value, dict) else []
    found = {key: id_ for key, id_ in pairs if key is not None and id_ in ids}
    if not pairs or len(found) != len(pairs):
        raise DataError(
            f"mask_values is {value!r}",
            where=path,
            expected="a mapping from values in the masks, 0 to 255, to class ids or the ignore value",
            remedy="correct it, or leave it out if the masks hold class ids",
        )
    return found


def read_concepts(value: Any, classes: list[str], path: Path) -> dict[str, tuple[str, ...]]:
    """Return what classes may look like.

    Raises:
        DataError: it is something else.
    """
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
