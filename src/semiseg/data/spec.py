"""What a data set is: its classes, colours, ignore value, evaluation protocol and lists."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from semiseg.data.palette import Colour, default_palette
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
    """

    name: str
    classes: tuple[str, ...]
    ignore_value: int = 255
    palette: tuple[Colour, ...] = ()
    protocol: Protocol = "original"
    lists: dict[str, str] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.classes)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a small YAML mapping with the safe loader.

    Raises:
        DataError: the file is missing, too large, not YAML or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > 1_000_000 or text.count("&") > 1000:
            raise ValueError("too large for a settings file")
        content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"unreadable YAML ({error})", where=path, remedy="correct the file") from error
    if not isinstance(content, dict):
        raise DataError("not a YAML mapping", where=path, expected="lines of `key: value`", remedy="correct the file")
    return content


def read_spec(path: Path) -> DatasetSpec:
    """Read a `dataset.yaml`.

    Raises:
        DataError: an unknown or missing key, or a value of the wrong kind.
    """
    content = load_yaml(path)
    known = [item.name for item in fields(DatasetSpec)]
    for key in content:
        if key not in known:
            raise DataError(f"unknown key {key!r}{closest(str(key), known)}", where=path, remedy="correct the key")
    classes = content.get("classes")
    if not isinstance(classes, list) or not 2 <= len(classes) <= 255:
        raise DataError("classes is not a list of 2 to 255 names", where=path, remedy="list the class names")
    palette = _read_palette(content.get("palette"), len(classes), path)
    ignore = content.get("ignore_value", 255)
    if not isinstance(ignore, int) or not 0 <= ignore <= 255:
        raise DataError(f"ignore_value is {ignore!r}", where=path, expected="0 to 255", remedy="correct the value")
    protocol = content.get("protocol", "original")
    if protocol not in ("original", "sliding"):
        raise DataError(
            f"protocol is {protocol!r}", where=path, expected="original or sliding", remedy="correct the value"
        )
    return DatasetSpec(
        name=str(content.get("name", path.parent.name)),
        classes=tuple(str(name) for name in classes),
        ignore_value=ignore,
        palette=palette,
        protocol=protocol,
        lists=_read_lists(content.get("lists"), path),
    )


def _read_palette(value: Any, count: int, path: Path) -> tuple[Colour, ...]:
    if value is None:
        return default_palette(count)
    colours = [tuple(colour) for colour in value if isinstance(colour, list)] if isinstance(value, list) else []
    if len(colours) != count or any(
        len(colour) != 3 or any(not isinstance(part, int) or not 0 <= part <= 255 for part in colour)
        for colour in colours
    ):
        raise DataError(
            "palette does not give one colour a class",
            where=path,
            expected=f"{count} lists of three numbers from 0 to 255",
            remedy="correct the palette, or leave it out",
        )
    return tuple((red, green, blue) for red, green, blue in colours)


def _read_lists(value: Any, path: Path) -> dict[str, str]:
    names = ("labeled", "unlabeled", "val")
    if value is None:
        return {}
    if not isinstance(value, dict) or any(key not in names for key in value):
        raise DataError(
            "lists is not a mapping of " + ", ".join(names), where=path, remedy="name a list file for each"
        )
    return {key: str(name) for key, name in value.items()}


def shipped_specs() -> dict[str, Path]:
    """Return the specs that ship with the package, by name."""
    folder = Path(str(resources.files("semiseg.data.specs")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
