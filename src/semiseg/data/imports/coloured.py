"""Masks in colours: CVAT's `Segmentation mask 1.1`, and any folder of colour or palette PNGs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import numpy as np

from semiseg.data.colours import colours_in
from semiseg.data.imports.labels import Item, Labels
from semiseg.data.imports.trees import Tree
from semiseg.data.palette import Colour
from semiseg.data.reading import MASK_SUFFIXES, Drawing, read_drawing, read_mask
from semiseg.data.spec import read_spec
from semiseg.errors import DataError

LABELMAP, SPEC = "labelmap.txt", "dataset.yaml"
CVAT_MASKS, MASKS = "SegmentationClass", "masks"

_LINE = re.compile(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(?::[^:]*){0,2}")
_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Given:
    """Classes that a file gives.

    Attributes:
        classes: their names, in their order.
        colours: the colour of each; empty if the file gives none.
        ignored: the colour of what is ignored.
    """

    classes: tuple[str, ...]
    colours: dict[str, Colour]
    ignored: Colour | None = None


def fits(tree: Tree) -> bool:
    """Whether it holds masks in a folder of a usual name."""
    return bool(_masks(tree, CVAT_MASKS) or _masks(tree, MASKS))


def read(tree: Tree) -> Labels:
    """Find the masks; each is of the image with its name and place.

    They lie in `SegmentationClass`, as CVAT and Pascal VOC have them, else in `masks`, else they are all files.
    """
    folder, names = next(
        (found for folder in (CVAT_MASKS, MASKS) if (found := (folder, _masks(tree, folder)))[1]),
        ("", [name for name in tree.names if name.lower().endswith(MASK_SUFFIXES)]),
    )
    items = [Item(image=_below(name, folder).rpartition(".")[0], mask=name) for name in names]
    return Labels(items=items)


def is_mask(name: str) -> bool:
    """Whether a file of an export lies in a folder of masks."""
    return not {CVAT_MASKS, "SegmentationObject", MASKS}.isdisjoint(PurePosixPath(name).parts[:-1])


def find_given(tree: Tree, file: Path | None) -> Given | None:
    """Return the classes of the file that the user names, else of the export's own `dataset.yaml` or `labelmap.txt`.

    Raises:
        DataError: the file is damaged.
    """
    if file is not None:
        return _given(file)
    own = [name for name in tree.names if PurePosixPath(name).name in (LABELMAP, SPEC)]
    if not own:
        return None
    nearest = min(own, key=lambda name: (name.count("/"), name))
    with TemporaryDirectory() as scratch, tree.on_disk(nearest, Path(scratch) / "classes") as path:
        return _given(path)


def _given(path: Path) -> Given:
    if path.suffix != ".txt":
        spec = read_spec(path)
        colours = dict(zip(spec.classes, spec.palette, strict=True)) if spec.by_colour else {}
        return Given(classes=spec.classes, colours=colours, ignored=spec.ignore_colour)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"unreadable {LABELMAP} ({error})", where=path, remedy="restore the file") from error
    colours = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        colour = (int(found[2]), int(found[3]), int(found[4])) if found else (256, 0, 0)
        if found is None or max(colour) > 255 or found[1] in colours or colour in colours.values():
            raise DataError(
                f"line {number} gives no class a colour of its own: {line[:100]!r}",
                where=path,
                expected="NAME:RED,GREEN,BLUE::, as CVAT writes it",
                remedy="correct the line",
            )
        colours[found[1]] = colour
    return Given(classes=tuple(colours), colours=colours)


def read_colours(path: Path, max_pixels: int, *, accept_predicted: bool = False) -> Drawing:
    """Read a mask of an export with its colours; gray levels are colours, too.

    Args:
        path: the mask.
        max_pixels: the largest that is opened.
        accept_predicted: whether a model may have made it.

    Raises:
        DataError: it cannot be used; see `read_drawing` and `read_mask`.
    """
    drawing = read_drawing(path, max_pixels, accept_predicted=accept_predicted)
    if drawing is not None:
        return drawing
    return Drawing(np.repeat(read_mask(path, max_pixels, accept_predicted=accept_predicted)[..., None], 3, axis=-1))


def refuse_nameless_colours(tree: Tree, labels: Labels, max_pixels: int) -> None:
    """List the colours of masks that no file gives classes.

    Raises:
        DataError: always.
    """
    pixels: Counter[Colour] = Counter()
    masks: Counter[Colour] = Counter()
    names = [item.mask for item in labels.items if item.mask]
    with TemporaryDirectory() as scratch:
        for name in names:
            with tree.on_disk(name, Path(scratch) / "mask") as path:
                found = colours_in(read_colours(path, max_pixels))
            pixels.update(found)
            masks.update(found.keys())
    shown = [colour for colour, _ in pixels.most_common(_LISTED)]
    whole = max(pixels.total(), 1)
    lines = [f"\n    {list(c)}  {pixels[c] / whole:6.2%} of all pixels, in {masks[c]:,} masks" for c in shown]
    more = f"\n    and {len(pixels) - _LISTED:,} more" if len(pixels) > _LISTED else ""
    raise DataError(
        f"{len(pixels):,} colours in {len(names):,} masks, and no file that gives them names:{''.join(lines)}{more}",
        where=tree.where,
        expected=f"a {SPEC} or CVAT's {LABELMAP} in it, or named by --classes",
        remedy=f"write a {SPEC} with `classes: [NAME, ...]` and `palette: {[list(c) for c in sorted(shown)]}`, a "
        "colour for each name; leave out the colour of what is to be ignored and write `ignore_colour: [R, G, B]`",
    )


def _masks(tree: Tree, folder: str) -> list[str]:
    return [
        name for name in tree.names if folder in PurePosixPath(name).parts[:-1] and name.lower().endswith(MASK_SUFFIXES)
    ]


def _below(name: str, folder: str) -> str:
    parts = PurePosixPath(name).parts
    return "/".join(parts[parts.index(folder) + 1 :]) if folder else name
