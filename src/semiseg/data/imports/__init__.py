"""From what annotation tools export to a data folder of our own, once: the verb `data import`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from semiseg.data.extras import require_library
from semiseg.data.imports import coco, coloured, cvat_xml, labelme, labelstudio
from semiseg.data.imports.classes import plan_classes
from semiseg.data.imports.images import Images
from semiseg.data.imports.labels import Labels
from semiseg.data.imports.machine import corrected
from semiseg.data.imports.trees import Tree, Zip, open_tree
from semiseg.data.imports.writing import Boxes, Found, Wishes, write_folder, write_spec
from semiseg.data.reading import MAX_PIXELS
from semiseg.data.ticks import Tick, no_tick
from semiseg.errors import DataError, closest, some
from semiseg.files import is_bare, whole_folder

__all__ = ["FORMATS", "Format", "Imported", "import_data"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of export.

    Attributes:
        title: what people call it.
        fits: whether a source is of it.
        read: what a source of it says.
    """

    title: str
    fits: Callable[[Tree], bool]
    read: Callable[[Tree], Labels]


FORMATS: dict[str, Format] = {
    "cvat": Format(title="CVAT for images 1.1 (XML)", fits=cvat_xml.fits, read=cvat_xml.read),
    "coco": Format(title="COCO instances (JSON)", fits=coco.fits, read=coco.read),
    "labelstudio": Format(title="Label Studio (JSON)", fits=labelstudio.fits, read=labelstudio.read),
    "labelme": Format(title="Labelme (JSON)", fits=labelme.fits, read=labelme.read),
    "masks": Format(title="masks in colours, also CVAT's", fits=coloured.fits, read=coloured.read),
}
"""What can be imported; `auto` takes the first that fits."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import made.

    Attributes:
        folder: the new data folder.
        format: a name of `FORMATS`.
        classes: the classes of the new data set.
        rest: what pixels are that nothing is drawn on: a class, or `ignored`.
        found: what became of the images.
        notes: what else is to be said.
        seconds: wall time.
    """

    folder: Path
    format: str
    classes: tuple[str, ...]
    rest: str
    found: Found
    notes: tuple[str, ...]
    seconds: float

    def summary(self) -> str:
        """Return what was done, and what was not, in lines to print."""
        found = self.found
        lines = [
            f"{len(found.labeled):,} labeled, {len(found.unlabeled):,} unlabeled: {self.folder} ({self.seconds:.0f} s)",
            f"classes: {', '.join(self.classes)}; where nothing is drawn: {self.rest}",
        ]
        if found.empty:
            lines.append(
                f"{len(found.empty):,} of the unlabeled are in the export with nothing drawn in them: "
                f"{some(found.empty, 3)} (--empty-is-background makes masks of background alone)"
            )
        for reason, images in _by_reason(found.faults).items():
            lines.append(f"{len(images):,} are unlabeled, {reason}: {some(images, 3)}")
        if found.missing:
            lines.append(f"{len(found.missing):,} images of the export are nowhere: {some(found.missing, 3)}")
        if found.overlapping:
            lines.append(
                f"shapes of different classes overlap in {len(found.overlapping):,} images, on up to "
                f"{max(found.overlapping.values()):.1%} of their pixels: the later covers the earlier"
            )
        return "\n".join([*lines, *self.notes])

    def facts(self) -> dict[str, Any]:
        """Return the same for scripts, in types that JSON knows."""
        return {**asdict(self), "folder": str(self.folder)}


def import_data(
    source: Path | str,
    out: Path | str,
    *,
    images: Path | str | None = None,
    format: str = "auto",
    classes: Path | str | None = None,
    rest: str | None = None,
    boxes: Boxes | None = None,
    leave_out: Sequence[str] = (),
    empty_is_background: bool = False,
    copy: bool = False,
    max_pixels: int = MAX_PIXELS,
    tick: Tick = no_tick,
) -> Imported:
    """Make a data folder of what an annotation tool exported: `images/`, `masks/` and `dataset.yaml`.

    It appears whole or not at all. Images in a folder are linked, those in a ZIP copied. An image without annotations
    stays unlabeled, and so does one whose annotations cannot all be used: what is left out would be learned as
    background. Labels that a model made are taken where a person has corrected some, and bear no mark of it then.

    Args:
        source: a folder, a ZIP or a file.
        out: the new folder; it must not exist, or be empty.
        images: where the images are; default: in the source.
        format: a name of `FORMATS`, or `auto`.
        classes: a `dataset.yaml` or CVAT's `labelmap.txt` with the classes and their colours; default: one in the
            source, else what the export says.
        rest: the class of pixels that nothing is drawn on, or `ignore`; default: `background`.
        boxes: what boxes are: `fill` takes them for the object, `ignore` ignores what is in them; default: an image
            with a box stays unlabeled.
        leave_out: kinds of shapes, as the summary calls them, that are passed over as if nobody had drawn them.
        empty_is_background: whether images of the export in which nothing is drawn get masks of `rest`.
        copy: whether to copy images instead of linking them.
        max_pixels: the largest image that is opened.
        tick: called with the number of masks done and of all.

    Raises:
        DataError: the source cannot be read or named, names cannot be told apart, a colour or label is of no class,
            nothing would be labeled, or nothing in the labels of a model is corrected.
        FileError: the folder cannot be written.
    """
    began, source, out = time.perf_counter(), Path(source), Path(out)
    _refuse_existing(out)
    _refuse_contradiction(rest, empty_is_background)
    tree = open_tree(source)
    note = corrected(tree)
    name = _chosen(tree, format)
    given = coloured.find_given(tree, Path(classes) if classes else None)
    labels = FORMATS[name].read(tree)
    if any(shape.kind == "polygon" for item in labels.items for shape in item.shapes):
        require_library("pycocotools", "import", reads="a polygon")
    labels = _without(labels, leave_out)
    if any(item.mask for item in labels.items) and not (given and given.colours):
        coloured.refuse_nameless_colours(tree, labels, max_pixels)
    plan = plan_classes(labels, given, rest)
    pictures = Images(open_tree(Path(images)) if images else tree, is_export=images is None)
    wishes = Wishes(
        boxes=boxes,
        empty_is_background=empty_is_background,
        copy=copy,
        accept_predicted=note is not None,
        max_pixels=max_pixels,
    )
    with whole_folder(out) as draft:
        found = write_folder(draft, out, tree, labels.items, pictures, plan, wishes, tick)
        head = [f"made by `semiseg data import` from {FORMATS[name].title}"]
        write_spec(draft, out.resolve().name, plan, head)
    linked = not (copy or isinstance(pictures.tree, Zip))
    return Imported(
        folder=out,
        format=name,
        classes=plan.classes,
        rest=plan.classes[plan.rest] if plan.rest < len(plan.classes) else "ignored",
        found=found,
        notes=(
            *labels.notes,
            *([note] if note else []),
            f"images are {'links to' if linked else 'copies from'} {pictures.tree.where}",
        ),
        seconds=time.perf_counter() - began,
    )


def _refuse_existing(out: Path) -> None:
    if out.exists() and not (out.is_dir() and is_bare(out)):
        raise DataError(
            "the output exists", where=out, expected="a new folder", remedy="choose another one, or remove it yourself"
        )


def _refuse_contradiction(rest: str | None, empty_is_background: bool) -> None:
    if rest == "ignore" and empty_is_background:
        raise DataError(
            "what nothing is drawn on would be ignored, and masks without drawings would show nothing else",
            where="--rest ignore and --empty-is-background",
            remedy="leave one of them out",
        )


def _chosen(tree: Tree, format: str) -> str:
    if format != "auto":
        if format not in FORMATS:
            raise DataError(
                f"unknown format {format!r}{closest(format, FORMATS)}",
                expected=", ".join(FORMATS),
                remedy="name one of these, or leave --format out",
            )
        return format
    name = next((name for name, known in FORMATS.items() if known.fits(tree)), None)
    if name is None:
        kinds = Counter(Path(file).suffix.lower() or "without a suffix" for file in tree.names)
        raise DataError(
            "no export of a known format",
            where=tree.where,
            expected="; ".join(f"{name}: {known.title}" for name, known in FORMATS.items()),
            remedy=f"it holds {', '.join(f'{count:,} {kind}' for kind, count in kinds.most_common(5)) or 'nothing'}: "
            "export as one of these; for a folder of masks alone pass --format masks and --images FOLDER",
        )
    return name


def _without(labels: Labels, kinds: Sequence[str]) -> Labels:
    """Return an export without shapes of some kinds."""
    if not kinds:
        return labels
    items = [replace(item, shapes=[shape for shape in item.shapes if shape.kind not in kinds]) for item in labels.items]
    return replace(labels, items=items)


def _by_reason(faults: dict[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for image, reason in faults.items():
        reasons.setdefault(reason, []).append(image)
    return reasons
