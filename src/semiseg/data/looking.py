"""A look at the files of one sample, before anybody learns from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from semiseg.data.bands import AS_IS, Shown, picture_size, read_picture
from semiseg.data.fingerprints import Fingerprint, take_fingerprint
from semiseg.data.likeness import Print, picture_print
from semiseg.data.lists import Sample
from semiseg.data.palette import Colour
from semiseg.data.reading import mask_palette, read_mask
from semiseg.data.spec import DatasetSpec, present_values, read_class_ids
from semiseg.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen of one sample.

    Attributes:
        files: each file's path and what tells its content from another.
        pixels: of each class id and the ignore value in its mask, the number of pixels; empty without a mask.
        colours: of each value in its mask, the colour, if the mask has a palette.
        mask: path of the mask, if there is one.
        size: width and height.
        print_: what its images look like, if they were decoded; see `semiseg.data.likeness`.
    """

    files: dict[str, Fingerprint]
    pixels: dict[int, int] = field(default_factory=dict)
    colours: dict[int, Colour] = field(default_factory=dict)
    mask: Path | None = None
    size: tuple[int, int] = (0, 0)
    print_: Print = ()


def look_at_header(sample: Sample, max_pixels: int, shown: Shown = AS_IS) -> Look:
    """Read the headers of an unlabeled sample's images.

    Raises:
        DataError: one is missing, unreadable or too large, or the images of a pair differ in size.
    """
    size = _size(sample, max_pixels, shown)
    return Look(files={str(path): take_fingerprint(path, hashed=False) for path in sample.frames}, size=size)


def look_at_images(sample: Sample, max_pixels: int, shown: Shown = AS_IS) -> Look:
    """Decode an unlabeled sample's images, and hash them.

    Raises:
        DataError: as `look_at_header`, or one is damaged.
    """
    size, print_ = _decoded(sample, max_pixels, shown)
    files = {str(path): take_fingerprint(path, hashed=True) for path in sample.frames}
    return Look(files=files, size=size, print_=print_)


def look_at_labeled(sample: Sample, spec: DatasetSpec, max_pixels: int) -> Look:
    """Decode the images and the mask of a sample, and hash them.

    Raises:
        DataError: as `look_at_images`, the mask differs in size, or it holds a value of no class.
    """
    if sample.mask is None:
        raise DataError(
            "no mask listed", where=sample.id, expected="a mask for it in the list", remedy="list it, or draw it"
        )
    size, print_ = _decoded(sample, max_pixels, spec.shown)
    # All of the mask: a wrong value is a fault, also where no image that is read reduced would show it.
    mask_HW = read_class_ids(sample.mask, replace(spec, long_side=None), max_pixels)
    if size != mask_HW.shape[::-1]:
        raise DataError(
            f"image of {_text(size)} and mask of {mask_HW.shape[1]} x {mask_HW.shape[0]} pixels",
            where=f"{sample.frames[0]} and {sample.mask}",
            expected="the same size",
            remedy="draw the mask on the image as it is",
        )
    return Look(
        files={str(path): take_fingerprint(path, hashed=True) for path in (*sample.frames, sample.mask)},
        pixels=present_values(mask_HW),
        colours={} if spec.by_colour else _colours(sample.mask, spec, max_pixels),
        mask=sample.mask,
        size=size,
        print_=print_,
    )


def _colours(mask: Path, spec: DatasetSpec, max_pixels: int) -> dict[int, Colour]:
    """Return the colour of each value of a mask that has a palette."""
    palette = mask_palette(mask, max_pixels)
    if not palette:
        return {}
    values_HW = read_mask(mask, max_pixels, accept_predicted=spec.accept_predicted)
    return {value: palette[value] for value in present_values(values_HW) if value < len(palette)}


def _decoded(sample: Sample, max_pixels: int, shown: Shown) -> tuple[tuple[int, int], Print]:
    """Decode the images of a sample, one after the other, and return their size in the files and their print."""
    size = _size(sample, max_pixels, shown)
    print_: Print = ()
    for path in sample.frames:
        image = read_picture(path, max_pixels, shown)
        if image.size != shown.size(size):
            raise DataError(
                f"damaged image (its header tells {_text(size)} pixels, what it holds does not fit)",
                where=path,
                remedy="replace the file or take it out of the data set",
            )
        print_ += picture_print(image)
    return size, print_


def _size(sample: Sample, max_pixels: int, shown: Shown) -> tuple[int, int]:
    """Return the size of the images of a sample as the files have it, by their headers."""
    sizes = [picture_size(path, max_pixels, shown.bands) for path in sample.frames]
    if len(set(sizes)) > 1:
        raise DataError(
            f"images of {' and '.join(map(_text, sizes))} pixels",
            where=" and ".join(map(str, sample.frames)),
            expected="the same size, pixel on pixel",
            remedy="cut both images of a pair to the same piece of land",
        )
    return sizes[0]


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
