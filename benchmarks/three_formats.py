"""Twenty masks of CamVid in three formats, as annotation tools write them: does the import give the same masks?

    python benchmarks/three_formats.py CAMVID OUT [--photos 100] [--masks 20]

writes OUT/colours (photographs, masks in colours, `dataset.yaml`), OUT/coco (photographs and COCO's instances.json) and
OUT/cvat.zip (CVAT's `Segmentation mask 1.1` with its images), imports the two that are not read as they are, and
compares every mask with the one it was written from. Exit code 1 if a pixel differs. docs/data.md trains on these.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from exports import Mask, coco, coloured, cvat_masks, write_json
from PIL import Image

from semiseg.data.imports import import_data
from semiseg.data.reading import read_mask
from semiseg.data.spec import DatasetSpec, read_class_ids, read_spec, shipped_specs

_IGNORED = (0, 0, 0)


def main(words: Sequence[str] | None = None) -> int:
    """Write the three, import them and compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--masks", type=int, default=20)
    options = parser.parse_args(words)
    lines = (options.camvid / "splits/all/labeled.txt").read_text().splitlines()
    chosen = [lines[index] for index in np.linspace(0, len(lines) - 1, options.photos).round().astype(int)]
    photos = [options.camvid / line.split()[0] for line in chosen]
    labeled = np.linspace(0, len(chosen) - 1, options.masks).round().astype(int)
    masks = {photos[index].name: read_mask(options.camvid / chosen[index].split()[1]) for index in labeled}
    spec = read_spec(shipped_specs()["camvid"])
    write_three(options.out, photos, masks, spec)
    wrong = [kind for kind in ("colours", "coco", "cvat") if compared(options.out, kind, masks)]
    return int(bool(wrong))


def write_three(out: Path, photos: Sequence[Path], masks: dict[str, Mask], spec: DatasetSpec) -> None:
    """Write photographs and masks in the three formats."""
    for folder in (out / "colours/images", out / "coco/images"):
        folder.mkdir(parents=True)
        for photo in photos:
            shutil.copy(photo, folder)
    table = dict(enumerate(spec.palette)) | {spec.ignore_value: _IGNORED}
    (out / "colours/masks").mkdir()
    for name, mask_HW in masks.items():
        Image.fromarray(coloured(mask_HW, table)).save(out / "colours/masks" / f"{Path(name).stem}.png")
    palette = [list(colour) for colour in spec.palette]
    text = f"classes: [{', '.join(spec.classes)}]\npalette: {palette}\nignore_colour: {list(_IGNORED)}\n"
    (out / "colours/dataset.yaml").write_text(text)
    write_json(out / "coco/instances.json", coco(masks, spec.classes, packed=True))
    colours = dict(zip(spec.classes, spec.palette, strict=True))
    cvat_masks(out / "cvat.zip", masks, colours, {photo.name: photo.read_bytes() for photo in photos})


def compared(out: Path, kind: str, masks: dict[str, Mask]) -> bool:
    """Import one of the three, where it is not read as it is, and say whether a pixel differs from the original."""
    with TemporaryDirectory(dir=out) as scratch:
        folder = out / "colours"
        if kind != "colours":
            source = out / ("coco" if kind == "coco" else "cvat.zip")
            folder = import_data(source, Path(scratch) / kind, rest="ignore").folder
        spec = read_spec(folder / "dataset.yaml")
        read = {name: read_class_ids(folder / "masks" / f"{Path(name).stem}.png", spec) for name in masks}
        images = len(list((folder / "images").iterdir()))
    differing = sum(int((read[name] != mask_HW).sum()) for name, mask_HW in masks.items())
    print(f"{kind:8} {images:4} images, {len(masks)} masks, {differing:,} pixels differ from the original")
    return differing > 0


if __name__ == "__main__":
    sys.exit(main())
