"""What the tests of all data sets share, and the release that those of the mechanism are made on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Mask = NDArray[np.uint8]


@pytest.fixture(scope="session")
def save() -> Callable[[Path, Mask], None]:
    """Return `save(path, pixels)`: write an image or a mask, and the folders it lies in."""

    def write(path: Path, pixels: Mask) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    return write


@pytest.fixture(scope="session")
def masks_in() -> Callable[[Path], dict[str, Mask]]:
    """Return `masks_in(folder)`: everything below it, which has to be gray PNGs, by relative name."""

    def read(folder: Path) -> dict[str, Mask]:
        found = {}
        for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
            with Image.open(path) as image:
                assert (image.format, image.mode) == ("PNG", "L")
                found[path.relative_to(folder).as_posix()] = np.asarray(image)
        return found

    return read


@pytest.fixture
def ade20k(tmp_path: Path, save: Callable[[Path, Mask], None]) -> Path:
    """Two training masks with all 151 values and one for validation without a class."""
    release = tmp_path / "raw/ADEChallengeData2016"
    for number in (1, 2):
        name = f"training/ADE_train_{number:08}"
        save(release / f"images/{name}.jpg", np.zeros((2, 151, 3), dtype=np.uint8))
        save(release / f"annotations/{name}.png", np.tile(np.arange(151, dtype=np.uint8), (2, 1)))
    save(release / "images/validation/ADE_val_00000001.jpg", np.zeros((2, 3, 3), dtype=np.uint8))
    save(release / "annotations/validation/ADE_val_00000001.png", np.zeros((2, 3), dtype=np.uint8))
    return tmp_path / "raw"
