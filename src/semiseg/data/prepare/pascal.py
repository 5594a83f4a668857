"""Pascal VOC 2012 with the masks of SBD: 10,582 training masks and 1,449 for validation.

VOC has a mask for 1,464 training images, by palette, with a border of 255 around objects. SBD (Hariharan et al.,
Semantic contours from inverse detectors, ICCV 2011) has coarser masks without borders for 11,355 images of VOC, some of
them its validation images. The published set is both together: VOC's mask where there is one, else SBD's, and none of
SBD's for a validation image.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.extras import require_library
from semiseg.data.prepare.making import Job, Plan, file_name, find_folder
from semiseg.data.reading import read_mask
from semiseg.errors import DataError

_EXPECTED = (
    "VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation} and "
    "benchmark_RELEASE/dataset/cls, or the contents of VOC2012 and of dataset"
)
_MAX_SBD_BYTES = 1_000_000
"""Files of SBD have up to some 20 kB. They are compressed, a thousandfold at most, so this bounds the memory."""


def plan(raw: Path, out: Path) -> Plan:
    """Plan `out/SegmentationClass/*.png` and the link `out/JPEGImages`.

    Without SBD only VOC's own masks are planned, and the count of the training masks says so.

    Raises:
        DataError: no VOC 2012, a list of it is missing, or SBD is there and scipy is not installed.
    """
    voc = find_folder(raw, ("VOCdevkit/VOC2012", "VOC2012", "."), "ImageSets/Segmentation")
    sbd = find_folder(raw, ("benchmark_RELEASE/dataset", "dataset", "."), "cls")
    if voc is None:
        raise DataError("no VOC 2012 found", where=raw, expected=_EXPECTED, remedy="unpack VOCtrainval_11-May-2012.tar")
    masks = out / "SegmentationClass"
    part_of = {name: part for part in ("train", "val") for name in _names(voc / f"ImageSets/Segmentation/{part}.txt")}
    drawn = [(part, voc / f"SegmentationClass/{name}.png") for name, part in part_of.items()]
    contours = sorted((sbd / "cls").glob("*.mat")) if sbd else []
    if contours:
        require_library("scipy")
    return Plan(
        classes=21,
        expected=_EXPECTED,
        jobs=(
            *(Job.of_mask(part, path, masks / path.name, partial(read_mask, path)) for part, path in drawn),
            *(
                Job.of_mask("train", path, masks / f"{path.stem}.png", partial(read_sbd, path))
                for path in contours
                if path.stem not in part_of
            ),
        ),
        links={out / "JPEGImages": voc / "JPEGImages"},
        published={"train": 10_582, "val": 1_449},
    )


def _names(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        # Without the val list, SBD's masks of validation images would be trained on.
        raise DataError(
            f"unreadable list ({error})", where=path, expected=_EXPECTED, remedy="unpack VOC 2012 again"
        ) from error
    return [file_name(line, path) for line in lines]


def read_sbd(path: Path) -> NDArray[np.uint8]:
    """Read the class ids of an SBD file, (H, W) uint8: the field Segmentation of the struct GTcls.

    Raises:
        DataError: the file is missing, damaged or not of SBD.
    """
    from scipy.io import loadmat

    try:
        if path.stat().st_size > _MAX_SBD_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        mask_HW = np.asarray(loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0])
        if mask_HW.ndim != 2 or mask_HW.dtype != np.uint8:
            raise ValueError(f"{mask_HW.ndim} dimensions of {mask_HW.dtype}")
    except (
        Exception
    ) as error:  # scipy raises whatever it stumbles over: ValueError, TypeError, zlib.error, IndexError...
        raise DataError(
            f"unreadable SBD mask ({error})",
            where=path,
            expected="GTcls.Segmentation, two dimensions of 8 bits",
            remedy="unpack the SBD release again",
        ) from error
    return mask_HW
