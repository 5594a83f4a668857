"""The scenes as a data set folder, laid out as a user's own data would be."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from semiseg.data.scenes.drawing import CLASSES, PALETTE, draw_scene
from semiseg.errors import DataError

_GENERATOR = 1
"""Raised when the same arguments draw other pictures than before."""

_FIRST_VAL = 100_000
"""Validation scenes are numbered from here, so that they stay the same for any number of training scenes."""


def write_scenes(
    root: Path, *, labeled: int = 8, unlabeled: int = 192, val: int = 64, size: int = 128, seed: int = 0
) -> None:
    """Write a complete data set folder: `dataset.yaml`, `images/`, `masks/` and one list per split.

    The folder appears at once or not at all. A folder that already holds the same scenes is left as it is. Labeled and
    unlabeled scenes are numbered through, so 200 labeled ones are the pictures of 8 labeled and 192 unlabeled ones.

    Args:
        root: the folder to write; it must not exist, be empty, or hold the same scenes.
        labeled: number of training scenes with a mask.
        unlabeled: number of training scenes without a mask.
        val: number of validation scenes, all with a mask.
        size: side of the pictures in pixels.
        seed: names the series the scenes are taken from.

    Raises:
        DataError: `root` holds anything else; nothing is overwritten.
    """
    root = Path(root)
    made_with = {
        "generator": _GENERATOR, "labeled": labeled, "unlabeled": unlabeled, "val": val, "size": size, "seed": seed
    }  # fmt: skip
    if _holds(root, made_with):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
        fresh = Path(temporary) / "scenes"
        _write(fresh, labeled, unlabeled, val, size, seed)
        (fresh / "scenes.json").write_text(json.dumps(made_with, indent=2) + "\n")
        if root.is_dir():
            root.rmdir()
        shutil.move(fresh, root)


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


def _write(root: Path, labeled: int, unlabeled: int, val: int, size: int, seed: int) -> None:
    splits = {
        "labeled": range(labeled),
        "unlabeled": range(labeled, labeled + unlabeled),
        "val": range(_FIRST_VAL, _FIRST_VAL + val),
    }
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for split, indices in splits.items():
        lines = [_write_scene(root, seed, index, size, with_mask=split != "unlabeled") for index in indices]
        (root / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    (root / "dataset.yaml").write_text(_description(list(splits)))


def _write_scene(root: Path, seed: int, index: int, size: int, *, with_mask: bool) -> str:
    """Write one scene and return its line in the list."""
    scene = draw_scene(seed, index, size)
    image, mask = f"images/scene_{index:06d}.png", f"masks/scene_{index:06d}.png"
    Image.fromarray(scene.image_HW3).save(root / image, compress_level=1)
    if not with_mask:
        return image
    Image.fromarray(scene.mask_HW).save(root / mask)
    return f"{image} {mask}"


def _description(splits: Sequence[str]) -> str:
    colours = "\n".join(f"  - {list(colour)}" for colour in PALETTE)
    lists = ", ".join(f"{split}: {split}.txt" for split in splits)
    classes = ", ".join(CLASSES)
    return f"name: scenes\nclasses: [{classes}]\npalette:\n{colours}\nignore_value: 255\nlists: {{{lists}}}\n"
