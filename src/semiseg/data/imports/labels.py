"""What an export says, the same for every annotation tool: images, and the labeled regions in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semiseg.data.imports.trees import MALFORMED
from semiseg.data.palette import Colour
from semiseg.data.regions import Region

BOX = "box"
"""The kind of a shape that is only a box around an object."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One labeled object.

    Attributes:
        label: the name of its class.
        kind: what it is called in messages, for example `polygon`.
        region: returns its pixels for (height, width), or raises one of `MALFORMED`; None where the kind has none.
    """

    label: str
    kind: str
    region: Callable[[int, int], Region] | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image as the export names it, and what is drawn in it.

    Attributes:
        image: its name; without a suffix where the export has none.
        size: its width and height, if the export gives them.
        shapes: the objects, the topmost last.
        mask: the file of its coloured mask, for exports that are masks.
        embedded: returns the image itself, if it is in the export.
        fault: why nothing can be made of it, where the export itself says so.
    """

    image: str
    size: tuple[int, int] | None = None
    shapes: Sequence[Shape] = ()
    mask: str | None = None
    embedded: Callable[[], bytes] | None = None
    fault: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody has drawn anything."""
        return not self.shapes and self.mask is None and self.fault is None


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A whole export.

    Attributes:
        items: its images.
        classes: its classes in their order; empty where they are known from the shapes alone.
        colours: of those classes that the export gives one.
        notes: what is to be said of it.
    """

    items: Sequence[Item]
    classes: tuple[str, ...] = ()
    colours: Mapping[str, Colour] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Painted:
    """A mask that was painted, and on how many of its pixels shapes of different classes overlapped."""

    mask_HW: NDArray[np.uint8]
    overlapping: int = 0


def paint(shapes: Sequence[Shape], ids: Mapping[str, int], rest: int, height: int, width: int) -> Painted:
    """Paint shapes one after the other, so that a later one covers an earlier one.

    Args:
        shapes: the objects, the topmost last.
        ids: the class id, or the ignore value, of each label.
        rest: the value of pixels that no shape covers.
        height: of the image.
        width: of the image.

    Raises:
        ValueError: a region is damaged.
    """
    mask_HW = np.full((height, width), rest, dtype=np.uint8)
    covered_HW = np.zeros((height, width), dtype=bool)
    overlap_HW = np.zeros((height, width), dtype=bool)
    for shape in shapes:
        if shape.region is None:
            raise ValueError(f"{shape.kind} has no region")
        id_ = ids[shape.label]
        try:
            region_HW = shape.region(height, width)
        except MALFORMED as error:
            raise ValueError(str(error) if isinstance(error, ValueError) else f"a damaged {shape.kind}") from error
        overlap_HW |= region_HW & covered_HW & (mask_HW != id_)
        covered_HW |= region_HW
        mask_HW[region_HW] = id_
    return Painted(mask_HW=mask_HW, overlapping=int(overlap_HW.sum()))
