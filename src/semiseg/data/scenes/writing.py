"""The scenes as a data set folder, laid out as a user's own data would be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.scenes.drawing import CLASSES, PALETTE, draw_pair, draw_scene
from semiseg.data.spec import PAIRS, DatasetSpec
from semiseg.errors import DataError
from semiseg.files import whole_folder

_GENERATOR = 1
"""Raised when the same arguments draw other pictures than before."""

_FIRST_VAL = 100_000
"""Validation scenes are numbered from here, so that they stay the same for any number of training scenes."""

_SPECS = {1: DatasetSpec(name="scenes", classes=CLASSES, palette=PALETTE), 2: PAIRS}
"""What is drawn for one and for two frames."""


def write_scenes(
    root: Path,
    *,
    labeled: int = 8,
    unlabeled: int = 192,
    val: int = 64,
    size: int = 128,
    seed: int = 0,
    frames: Literal[1, 2] = 1,
) -> None:
    """Write a complete data set folder: `dataset.yaml`, `images/`, `masks/` and one list per split.

    Of pairs for change detection the folders are `A/`, `B/` and `label/`, laid out as LEVIR-CD is, with 0 and 255 in
    the masks.

    The folder appears at once or not at all. A folder that already holds the same scenes is left as it is. Labeled and
    unlabeled scenes are numbered through, so 200 labeled ones are the pictures of 8 labeled and 192 unlabeled ones.

    Args:
        root: the folder to write; it must not exist, be empty, or hold the same scenes.
        labeled: number of training scenes with a mask.
        unlabeled: number of training scenes without a mask.
        val: number of validation scenes, all with a mask.
        size: side of the pictures in pixels.
        seed: names the series the scenes are taken from.
        frames: 1 for scenes, 2 for pairs of dates of one place, labeled with which houses changed.

    Raises:
        DataError: `root` holds anything else; nothing is overwritten.
        FileError: it cannot be written.
    """
    root = Path(root)
    made_with = {
        "generator": _GENERATOR, "labeled": labeled, "unlabeled": unlabeled, "val": val, "size": size, "seed": seed
    }  # fmt: skip
    if frames != 1:  # folders of single frames were written before there were pairs
        made_with["frames"] = frames
    if _holds(root, made_with):
        return
    with whole_folder(root) as draft:
        _write(draft, made_with, _SPECS[frames])
        (draft / "scenes.json").write_text(json.dumps(made_with, indent=2) + "\n")
        if root.is_dir():
            root.rmdir()


def _holds(root: Path, made_with: dict[str, int]) -> bool:
    """Tell whether `root` already holds these scenes; an error if it holds something else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    note = root / "scenes.json"
    try:
        found = json.loads(note.read_text()) if note.is_file() else None
    except ValueError:
        found = None
    if found == made_with:
        return True
    raise DataError(
        "the folder holds scenes of other settings" if isinstance(found, dict) else "the folder is not empty",
        where=root,
        expected="a new or empty folder, or one written with the same settings",
        remedy="choose another folder, or delete this one if you do not need it",
    )


def _write(root: Path, made_with: dict[str, int], spec: DatasetSpec) -> None:
    labeled, unlabeled, val = (made_with[name] for name in ("labeled", "unlabeled", "val"))
    splits = {
        "labeled": range(labeled),
        "unlabeled": range(labeled, labeled + unlabeled),
        "val": range(_FIRST_VAL, _FIRST_VAL + val),
    }
    for folder in (*spec.frames, spec.masks):
        (root / folder).mkdir()
    for split, indices in splits.items():
        lines = [_write_scene(root, made_with, spec, index, with_mask=split != "unlabeled") for index in indices]
        (root / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    (root / "dataset.yaml").write_text(_description(spec, list(splits)))


def _write_scene(root: Path, made_with: dict[str, int], spec: DatasetSpec, index: int, *, with_mask: bool) -> str:
    """Write the frames of one scene, and perhaps its mask, and return its line in the list."""
    frames, mask_HW = _draw(made_with["seed"], index, made_with["size"], spec)
    name = f"scene_{index:06d}.png"
    for folder, image_HW3 in zip(spec.frames, frames, strict=True):
        Image.fromarray(image_HW3).save(root / folder / name, compress_level=1)
    if with_mask:
        Image.fromarray(mask_HW).save(root / spec.masks / name)
    if len(frames) > 1:
        return name
    return f"{spec.frames[0]}/{name} {spec.masks}/{name}" if with_mask else f"{spec.frames[0]}/{name}"


def _draw(seed: int, index: int, size: int, spec: DatasetSpec) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return the frames of a scene and what its mask's file holds."""
    if len(spec.frames) == 1:
        scene = draw_scene(seed, index, size)
        return [scene.image_HW3], scene.mask_HW
    pair = draw_pair(seed, index, size)
    return [pair.before_HW3, pair.after_HW3], pair.change_HW * np.uint8(255)


def _description(spec: DatasetSpec, splits: Sequence[str]) -> str:
    colours = "\n".join(f"  - {list(colour)}" for colour in spec.palette)
    lists = ", ".join(f"{split}: {split}.txt" for split in splits)
    classes = ", ".join(spec.classes)
    text = f"name: scenes\nclasses: [{classes}]\npalette:\n{colours}\nignore_value: 255\nlists: {{{lists}}}\n"
    if len(spec.frames) > 1:
        text += f"frames: [{', '.join(spec.frames)}]\nmasks: {spec.masks}\nmask_values: {spec.mask_values}\n"
    return text
