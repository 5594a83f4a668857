"""What a data set is: its classes, colours, ignore value, evaluation protocol and lists."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from semiseg.data.palette import Colour, default_palette
from semiseg.data.yaml_file import read_yaml
from semiseg.errors import DataError, closest

Protocol = Literal["original", "sliding"]


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """The facts of a data set, from its `dataset.yaml` or from a spec that ships with the package.

    Attributes:
        name: shown in logs and reports.
        classes: class names; a mask's value is an index into them.
        ignore_value: mask value that is neither learned nor evaluated, 0..255.
        palette: one RGB colour a class.
        protocol: `original` evaluates whole images, `sliding` windows of the crop's size.
        lists: paths of list files relative to the root, for `labeled`, `unlabeled` and `val`.
        images: folder of the training images below the root.
        masks: folder of their masks below the root; a mask has its image's name and place, but for the suffix.
    """

    name: str
    classes: tuple[str, ...]
    ignore_value: int = 255
    palette: tuple[Colour, ...] = ()
    protocol: Protocol = "original"
    lists: dict[str, str] = field(default_factory=dict)
    images: str = "images"
    masks: str = "masks"

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.classes)


def read_spec(path: Path) -> DatasetSpec:
    """Read a `dataset.yaml`.

    Raises:
        DataError: an unknown or missing key, or a value of the wrong kind.
    """
    content = read_yaml(path, DataError)
    known = [item.name for item in fields(DatasetSpec)]
    for key in content:
        if key not in known:
            raise DataError(f"unknown key {key!r}{closest(str(key), known)}", where=path, remedy="correct the key")
    classes = content.get("classes")
    if (
        not isinstance(classes, list)
        or not all(isinstance(name, str) for name in classes)
        or not 2 <= len(set(classes)) == len(classes) <= 255
    ):
        raise DataError(
            "classes is not a list of 2 to 255 different names",
            where=path,
            expected="classes: [NAME, NAME, ...], where a mask's value is the place in the list, from 0",
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
    return DatasetSpec(
        name=str(content.get("name") or path.resolve().parent.name),
        classes=tuple(classes),
        ignore_value=ignore,
        palette=_read_palette(content.get("palette"), len(classes), path),
        protocol=protocol,
        lists=_read_lists(content.get("lists"), path),
        images=_read_folder(content, "images", path),
        masks=_read_folder(content, "masks", path),
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


def _read_folder(content: dict[str, Any], key: str, path: Path) -> str:
    name = content.get(key, key)
    folder = PurePosixPath(name) if isinstance(name, str) else None
    if folder is None or folder.is_absolute() or ".." in folder.parts:
        raise DataError(
            f"{key} is {name!r}",
            where=path,
            expected="a folder, relative to the data folder and inside it",
            remedy=f"correct it, or leave it out if the folder is called {key}",
        )
    return folder.as_posix()


def shipped_specs() -> dict[str, Path]:
    """Return the specs that ship with the package, by name."""
    folder = Path(str(resources.files("semiseg.data.specs")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
