"""From an export to a data folder: images, masks of class ids, `dataset.yaml`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import yaml
from PIL import Image

from semiseg.data.colours import match_colours, unknown_colours
from semiseg.data.imports.classes import IGNORED_LABEL, Plan
from semiseg.data.imports.coloured import read_colours
from semiseg.data.imports.images import Images
from semiseg.data.imports.labels import BOX, Item, Painted, Shape, paint
from semiseg.data.imports.trees import Tree
from semiseg.data.prefetch import prefetch
from semiseg.data.reading import image_size
from semiseg.data.ticks import Tick
from semiseg.errors import DataError, some

_REMEDY = (
    "correct the mask or the colours of the classes; name a colour to ignore by `ignore_colour: [R, G, B]` in a "
    "dataset.yaml, named by --classes"
)
Boxes = Literal["fill", "ignore"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user wants of an import; see `semiseg.data.imports.import_data`.

    Masks that a model made are taken where a person has corrected some of them: `accept_predicted`.
    """

    boxes: Boxes | None = None
    empty_is_background: bool = False
    copy: bool = False
    accept_predicted: bool = False
    max_pixels: int


@dataclass(kw_only=True)
class Found:
    """What became of the images.

    Attributes:
        labeled: images with a mask.
        unlabeled: images without one.
        empty: those of the unlabeled in which nobody has drawn anything, though the export names them.
        faults: why other images are unlabeled though something is drawn, by image.
        missing: images that the export names and nobody has.
        overlapping: of images where shapes of different classes overlap, the share of pixels.
        embedded: images that were taken from the export's own text.
    """

    labeled: list[str] = field(default_factory=list)
    unlabeled: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    overlapping: dict[str, float] = field(default_factory=dict)
    embedded: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    item: Item
    image: str
    """Below the folder `images`."""


def write_folder(
    draft: Path, home: Path, tree: Tree, items: Sequence[Item], images: Images, plan: Plan, wishes: Wishes, tick: Tick
) -> Found:
    """Fill the draft of a data folder.

    Args:
        draft: an empty folder.
        home: where it will stand.
        tree: the export.
        items: its images.
        images: those that there are.
        plan: the classes.
        wishes: of the user.
        tick: told how many masks are done, and of how many.

    Raises:
        DataError: two images would share a mask, a name can mean several images, a mask has a colour of no class, or
            not one image is labeled.
    """
    found = Found()
    (draft / "images").mkdir()
    (draft / "masks").mkdir()
    named = _named(items, images, found)
    images.refuse_shared_masks(name for name, item in named.items() if not item.is_empty)
    for name in images.names:
        place = images.place(name)
        images.put(name, draft / "images" / place, home=(home / "images" / place).parent, copy=wishes.copy)
        if name not in named:
            found.unlabeled.append(place)
    jobs = [_Job(item, images.place(name)) for name, item in named.items()]
    jobs += _embedded(draft, items, images, found, wishes)

    def painted(job: _Job) -> Painted | str | None:
        return _painted(draft, job, tree, plan, wishes)

    tick(0, len(jobs))
    for done, (job, result) in enumerate(zip(jobs, prefetch(painted, jobs), strict=True), 1):
        _note(found, job.image, result)
        tick(done, len(jobs))
    _refuse_nothing(found, tree)
    return found


def write_spec(draft: Path, name: str, plan: Plan, head: Sequence[str]) -> None:
    """Write `dataset.yaml`, with comments above it."""
    content = {"name": name, "classes": list(plan.classes), "palette": [list(colour) for colour in plan.palette]}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    (draft / "dataset.yaml").write_text("".join(f"# {line}\n" for line in head) + text, encoding="utf-8", newline="\n")


def _named(items: Sequence[Item], images: Images, found: Found) -> dict[str, Item]:
    """Return the items by the image that they mean; note those that nobody has."""
    named: dict[str, Item] = {}
    for item in items:
        name = images.find(item.image)
        if name is None:
            found.missing += [] if item.embedded else [item.image]
        elif name in named:
            raise DataError(
                f"the export describes {name} twice, as {named[name].image!r} and {item.image!r}",
                where=images.tree.where,
                expected="one description of each image",
                remedy="take one of them out of the export",
            )
        else:
            named[name] = item
    return named


def _embedded(draft: Path, items: Sequence[Item], images: Images, found: Found, wishes: Wishes) -> Iterator[_Job]:
    """Write the images that the export holds as text, where no file has their name."""
    for item in items:
        if item.embedded is None or images.find(item.image) is not None:
            continue
        target = draft / "images" / Path(item.image).name
        if target.exists():  # another image has its name
            found.missing.append(item.image)
            continue
        try:
            target.write_bytes(item.embedded())
            image_size(target, wishes.max_pixels)
        except (ValueError, DataError):
            target.unlink(missing_ok=True)
            found.missing.append(item.image)
            continue
        found.embedded.append(target.name)
        yield _Job(item, target.name)


def _painted(draft: Path, job: _Job, tree: Tree, plan: Plan, wishes: Wishes) -> Painted | str | None:
    """Paint the mask of an image and write it; return why there is none, or None if nothing is drawn.

    Raises:
        DataError: a coloured mask has a colour of no class: then it is not one image that is wrong.
    """
    item, shapes = job.item, _shapes(job.item, wishes)
    if item.fault:
        return item.fault
    if item.is_empty and not wishes.empty_is_background:
        return None
    lacking = Counter(shape.kind for shape in shapes if shape.region is None)
    if lacking:
        return "no region in " + ", ".join(f"{count} {kind}" for kind, count in sorted(lacking.items()))
    mask = draft / "masks" / f"{job.image.rpartition('.')[0]}.png"
    mask.parent.mkdir(parents=True, exist_ok=True)
    try:
        width, height = image_size(draft / "images" / job.image, wishes.max_pixels)
        if item.size and item.size != (width, height):
            return f"drawn at {item.size[0]} x {item.size[1]} pixels, the image has {width} x {height}"
        painted = _of_colours(mask, job, tree, plan, wishes) or paint(shapes, plan.ids, plan.rest, height, width)
    except _UnknownColours:
        raise
    except (ValueError, DataError) as error:
        return str(error).splitlines()[0]
    if painted.mask_HW.shape != (height, width):
        size = f"{painted.mask_HW.shape[1]} x {painted.mask_HW.shape[0]}"
        return f"a mask of {size} pixels, the image has {width} x {height}"
    Image.fromarray(painted.mask_HW).save(mask, format="PNG")
    return painted


class _UnknownColours(DataError):
    """A mask has colours of no class."""


def _of_colours(target: Path, job: _Job, tree: Tree, plan: Plan, wishes: Wishes) -> Painted | None:
    """Return the classes of a coloured mask; None for an item of shapes."""
    name = job.item.mask
    if name is None or plan.colours is None:
        return None
    with tree.on_disk(name, target.with_name(f".{target.stem}.part")) as path:
        drawing = read_colours(path, wishes.max_pixels, accept_predicted=wishes.accept_predicted)
        matched = match_colours(drawing, plan.colours)
    if matched.unknown:
        where = Path(tree.title(name))
        raise _UnknownColours.of_text(str(unknown_colours(matched.unknown, plan.colours, where, _REMEDY)))
    return Painted(mask_HW=matched.ids_HW)


def _shapes(item: Item, wishes: Wishes) -> list[Shape]:
    """Return what is to be painted, boxes to be ignored first."""
    shapes = list(item.shapes)
    if wishes.boxes == "fill":
        return shapes
    boxes = [shape for shape in shapes if shape.kind == BOX]
    if wishes.boxes == "ignore":
        below = [replace(box, label=IGNORED_LABEL) for box in boxes]
        return [*below, *(shape for shape in shapes if shape.kind != BOX)]
    return [replace(shape, region=None) if shape.kind == BOX else shape for shape in shapes]


def _note(found: Found, image: str, result: Painted | str | None) -> None:
    if isinstance(result, Painted):
        found.labeled.append(image)
        if result.overlapping:
            found.overlapping[image] = result.overlapping / result.mask_HW.size
        return
    found.unlabeled.append(image)
    if result is None:
        found.empty.append(image)
    else:
        found.faults[image] = result


def _refuse_nothing(found: Found, tree: Tree) -> None:
    if found.labeled:
        return
    reasons = [f"{image}: {reason}" for image, reason in found.faults.items()]
    reasons += [f"{name}: no such image" for name in found.missing]
    raise DataError(
        "no image would be labeled" + (f": {some(reasons, 3)}" if reasons else ""),
        where=tree.where,
        expected="images, by --images FOLDER or in the export, and regions that are drawn in them",
        remedy="name the folder of the images; where kinds of shapes have no region, --leave-out KIND passes them "
        "over, and --boxes fill or --boxes ignore says what boxes are",
    )
