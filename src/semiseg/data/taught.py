"""What a trained teacher says of unlabeled images, kept in files: the class and the confidence of every pixel.

A folder of such labels holds `teacher.json`, which says who made them and how, and of each image one PNG of two
channels: the class id, and the confidence from 0 to 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.lists import Sample
from semiseg.data.predicted import png_mark
from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError, some
from semiseg.files import read_json, whole_file

FACTS = "teacher.json"
"""Says who made the labels of a folder, for which classes, and how."""
_REMEDY = "remove the file and run `semiseg distill` again: it makes what is missing"


def label_path(folder: Path, sample: Sample) -> Path:
    """Return where the label of a sample lies; images from outside of the data folder keep their whole path below."""
    return folder / "labels" / f"{sample.id.lstrip('/')}.png"


def write_label(path: Path, label_HW: NDArray[np.uint8], confidence_HW: NDArray[np.float32]) -> None:
    """Write the label of an image, whole or not at all, marked as no work of a person.

    Args:
        path: from `label_path`.
        label_HW: class ids.
        confidence_HW: 0 to 1; kept in steps of 1/255.

    Raises:
        FileError: it cannot be written.
    """
    pair_HW2 = np.stack((label_HW, np.rint(confidence_HW * 255).astype(np.uint8)), axis=-1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        Image.fromarray(pair_HW2).save(draft, format="PNG", pnginfo=png_mark())


def read_label(folder: Path, sample: Sample, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the label of a sample: class ids (H, W), and confidences (H, W) from 0 to 255.

    Args:
        folder: of the labels.
        sample: an unlabeled one.
        size: (width, height) of its image.

    Raises:
        DataError: there is none, it is damaged, or it is of another image.
    """
    path = label_path(folder, sample)
    try:
        with Image.open(path, formats=("PNG",)) as image:
            found, mode = image.size, image.mode
            if (found, mode) == (size, "LA"):
                pair_HW2 = np.asarray(image)
                return pair_HW2[..., 0], pair_HW2[..., 1]
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"the teacher's label cannot be read ({error})", where=path, remedy=_REMEDY) from error
    raise DataError(
        f"the teacher's label is an image of {found[0]} x {found[1]} pixels, mode {mode}",
        where=path,
        expected=f"{size[0]} x {size[1]} pixels as its image, class and confidence (mode LA)",
        remedy=_REMEDY,
    )


def check_labels(folder: Path, samples: Sequence[Sample], spec: DatasetSpec) -> dict[str, Any]:
    """Hold a folder of labels against what is to be learned from it, before the first step; return its facts.

    Raises:
        DataError: no such folder, one of other classes or of images read at another size, or images without a label.
    """
    try:
        facts = read_json(folder / FACTS)
        classes = tuple(facts["classes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "no labels of a trained teacher",
            where=folder,
            expected=FACTS,
            remedy="make them with `semiseg distill RUN`",
        ) from error
    if classes != spec.classes:
        raise DataError(
            f"the teacher knows other classes: {', '.join(map(str, classes))}",
            where=folder,
            expected=", ".join(spec.classes),
            remedy="choose a teacher that was trained for these classes",
        )
    if facts.get("long_side") != spec.long_side:
        raise DataError(
            f"the teacher's labels are of images read at another size: data.long_side {facts.get('long_side')}",
            where=folder,
            expected=f"data.long_side {spec.long_side}",
            remedy="run `semiseg distill` with this data.long_side and another folder, --labels DIR",
        )
    missing = [sample.id for sample in samples if not label_path(folder, sample).is_file()]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(samples):,} unlabeled images have no label of the teacher",
            where=f"{folder}: {some(missing)}",
            remedy="run `semiseg distill` again: it makes what is missing",
        )
    return dict(facts)
