"""Which class each label of an export becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from semiseg.data.colours import Key, key_of
from semiseg.data.imports.coloured import Given
from semiseg.data.imports.labels import Labels
from semiseg.data.palette import IGNORED, Palette, default_palette
from semiseg.errors import DataError, closest

IGNORE = 255
BACKGROUND, IGNORED_LABEL = "background", "__ignore__"
_BACKGROUNDS = (BACKGROUND, "_background_")
"""How tools call what nothing is drawn on."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The classes of the new data set.

    Attributes:
        classes: their names.
        palette: a colour for each.
        ids: the class id, or the ignore value, of each label.
        rest: the value of pixels that nothing is drawn on.
        colours: what the colours of masks stand for, if the export is masks and they are known.
    """

    classes: tuple[str, ...]
    palette: Palette
    ids: Mapping[str, int]
    rest: int
    colours: Key | None


def plan_classes(labels: Labels, given: Given | None, rest: str | None) -> Plan:
    """Decide what the classes are.

    Those of a file that the user has, or of the export; else the labels of its shapes in the order of their names.
    What nothing is drawn on is the class `background`, which is added as the first where it is missing.

    Args:
        labels: the export.
        given: classes of a file.
        rest: the class of what nothing is drawn on, or `ignore`; None: `background`.

    Raises:
        DataError: a label or `rest` is none of the given classes, or names cannot be those of classes.
    """
    drawn = {shape.label for item in labels.items for shape in item.shapes} - {IGNORED_LABEL}
    masks = any(item.mask for item in labels.items)
    names = list(given.classes if given else labels.classes or sorted(drawn))
    base = next((name for name in names if name in _BACKGROUNDS), None)
    if rest == "ignore":
        names = [name for name in names if name != base or name in drawn or (given and not masks)]
    elif rest is not None and rest not in names and (given or rest in drawn):
        raise _no_rest(rest, names)
    elif rest is None and base is None and not masks:
        if given:
            raise _no_rest(BACKGROUND, names)
        names.insert(0, BACKGROUND)
    elif rest is not None and rest not in names:
        names.insert(0, rest)
    _refuse_strange(drawn, names)
    ids = {name: id_ for id_, name in enumerate(names)}
    value = IGNORE if rest == "ignore" else ids.get(rest or base or BACKGROUND, IGNORE)
    ids |= {name: value for name in _BACKGROUNDS if name not in ids} | {IGNORED_LABEL: IGNORE}
    colours = given.colours if given else labels.colours
    return Plan(
        classes=tuple(names),
        palette=_palette(names, colours),
        ids=ids,
        rest=value,
        colours=_key(names, given, base if rest == "ignore" else None) if masks and given and given.colours else None,
    )


def _key(names: list[str], given: Given, ignored: str | None) -> Key:
    key = key_of(names, [given.colours[name] for name in names], given.ignored, IGNORE)
    if ignored is None or ignored in names:
        return key
    colour = given.colours[ignored]
    return Key({**key.names, colour: ignored}, {**key.ids, colour: IGNORE}, IGNORE)


def _palette(names: list[str], colours: Mapping[str, tuple[int, int, int]]) -> Palette:
    """Return the export's colours if it has a different one for each class, else our own."""
    known = tuple(colours.get(name, IGNORED if name in _BACKGROUNDS else None) for name in names)
    whole = tuple(colour for colour in known if colour is not None)
    return whole if len(set(whole)) == len(names) else default_palette(len(names))


def _no_rest(rest: str, names: list[str]) -> DataError:
    return DataError(
        f"what nothing is drawn on would be {rest!r}, which is none of the classes{closest(rest, names)}",
        expected=", ".join(names),
        remedy="pass --rest CLASS, or --rest ignore where such pixels say nothing",
    )


def _refuse_strange(drawn: set[str], names: list[str]) -> None:
    for label in sorted(drawn):
        if label not in names and label not in _BACKGROUNDS:
            raise DataError(
                f"the label {label!r} is none of the classes{closest(label, names)}",
                expected=", ".join(names),
                remedy="correct the label, or add it to the file of classes",
            )
    wrong = [name for name in names if not (1 <= len(name) <= 100 and name.isprintable())]
    if wrong or not 2 <= len(set(names)) == len(names) <= 255:
        raise DataError(
            f"{wrong[0]!r} cannot be the name of a class" if wrong else f"{len(set(names))} different classes",
            expected="2 to 255 different classes, each with a name of 1 to 100 printable characters",
            remedy="correct the labels; where one class alone is drawn, leave --rest out and the rest is `background`",
        )
