"""What a prediction may write, and where: never over somebody's work, never where it would be taken for a label."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from semiseg.data.predicted import MARK, MARKER, is_predicted
from semiseg.data.reading import MASK_SUFFIXES, open_image
from semiseg.data.spec import PAIRS, DatasetSpec, read_spec, shipped_specs
from semiseg.errors import DataError
from semiseg.files import write_text
from semiseg.prediction.plan import Job

_SHOWN = 3
_SPEC = "dataset.yaml"
_MASK_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


def refuse_foreign(jobs: Sequence[Job], out: Path, *, overwrite: bool) -> None:
    """Refuse an output folder that is part of a data set, and files to replace that `predict` has not written.

    Args:
        jobs: what is to be written.
        out: the output folder.
        overwrite: whether files that exist are to be replaced.

    Raises:
        DataError: a folder of a data set, or one that holds masks or outputs of other origin.
    """
    for folder in output_folders(jobs, out):
        _refuse_data_set(folder)
        if not (folder / MARKER).is_file():
            _refuse_masks(folder)
    outputs = (path for job in jobs for path in job.outputs if overwrite or not (path.parent / MARKER).is_file())
    if foreign := [path for path in outputs if is_written(path) and not is_predicted(path)]:
        raise DataError(
            f"{len(foreign)} files that `semiseg predict` has not written are in the way",
            where=", ".join(map(str, foreign[:_SHOWN])),
            expected="predictions, which carry a mark",
            remedy="choose another output folder, or move these files away",
        )


def output_folders(jobs: Iterable[Job], out: Path) -> list[Path]:
    """Return every folder that masks go to, and `out` itself."""
    return sorted({out, *(job.mask.parent for job in jobs)})


def is_written(path: Path) -> bool:
    """Whether there is a file with something in it: a lost power supply can leave an empty one."""
    return path.exists() and path.stat().st_size > 0


def mark_folder(folder: Path) -> None:
    """Say in a folder that its masks are predictions, for whoever reads them and for `semiseg train`.

    Raises:
        FileError: the file cannot be written.
    """
    if not (folder / MARKER).is_file():
        facts = {
            "made_by": MARK,
            "meaning": "The masks in this folder are predictions of a model. Training refuses them as labels.",
            "corrected": "Remove this file from a folder whose masks you have corrected.",
        }
        write_text(folder / MARKER, json.dumps(facts, indent=1) + "\n")


def _refuse_data_set(folder: Path) -> None:
    """Refuse a folder beside a `dataset.yaml`, and one in the folders of a data set's images or masks."""
    real = folder.resolve()
    if (real.parent / _SPEC).is_file():
        raise _part_of(real.parent, folder)
    for root in real.parents:
        inside = real.relative_to(root)
        for images, masks in _layouts(root):
            is_data_set = (root / images).is_dir() and (inside.is_relative_to(masks) or (root / masks).is_dir())
            if is_data_set and (inside.is_relative_to(images) or inside.is_relative_to(masks)):
                raise _part_of(root, folder)


def _layouts(root: Path) -> Iterable[tuple[str, str]]:
    """Return the folders of images and of masks that a data set may have: as it says itself, else as any known."""
    try:
        own = [read_spec(root / _SPEC)] if (root / _SPEC).is_file() else []
    except DataError:  # training says what is wrong with it
        own = []
    return _folders(own) if own else _known_layouts()


@cache
def _known_layouts() -> set[tuple[str, str]]:
    return _folders([PAIRS, *map(read_spec, shipped_specs().values())])


def _folders(specs: Iterable[DatasetSpec]) -> set[tuple[str, str]]:
    return {(frame, spec.masks) for spec in specs for frame in spec.frames}


def _refuse_masks(folder: Path) -> None:
    """Refuse a folder that holds masks without our mark: to fill the gaps between labels is to make labels."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in MASK_SUFFIXES and not is_predicted(path) and _is_mask(path):
            raise DataError(
                "the output folder holds masks that `semiseg predict` has not written",
                where=path,
                expected="an empty folder, or one of predictions",
                remedy="choose another output folder",
            )


def _is_mask(path: Path) -> bool:
    """Whether a file is an image of one channel."""
    try:
        with open_image(path) as image:
            return image.mode in _MASK_MODES
    except DataError:
        return False


def _part_of(root: Path, folder: Path) -> DataError:
    return DataError(
        "the output folder is part of a data set, whose labels are no place for predictions",
        where=folder,
        expected="a folder of its own",
        remedy=f"choose one elsewhere, such as {root.parent / f'{root.name}_predicted'}",
    )
