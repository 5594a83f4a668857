from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import three_formats
from PIL import Image

from semiseg.data.imports import import_data


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """Return a folder laid out as CamVid, with six drawn images."""
    rng, root = np.random.default_rng(0), tmp_path / "camvid"
    lines = []
    for number in range(6):
        for folder, pixels in (
            ("images", rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)),
            ("masks", rng.choice(np.array([*range(11), 255], dtype=np.uint8), (6, 8)).repeat(4, 0).repeat(4, 1)),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
        lines.append(f"images/{number}.png masks/{number}.png")
    (root / "splits/all").mkdir(parents=True)
    (root / "splits/all/labeled.txt").write_text("\n".join(lines))
    return root


def test_masks_in_three_formats_are_the_originals_to_the_pixel(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(camvid), str(tmp_path / "out"), "--photos", "6", "--masks", "4"]
    assert three_formats.main(words) == 0
    said = capsys.readouterr().out
    assert said.splitlines() == [
        f"{kind:8}    6 images, 4 masks, 0 pixels differ from the original" for kind in ("colours", "coco", "cvat")
    ]
    spoiled = np.array(Image.open(tmp_path / "out/colours/masks/0.png"))
    spoiled[0, 0] = 0 if spoiled[0, 0].any() else 128
    Image.fromarray(spoiled).save(tmp_path / "out/colours/masks/0.png")
    masks = {"0.png": np.asarray(Image.open(camvid / "masks/0.png"))}
    assert three_formats.compared(tmp_path / "out", "colours", masks)


def test_the_three_can_be_imported_again(camvid: Path, tmp_path: Path) -> None:
    three_formats.main([str(camvid), str(tmp_path / "out"), "--photos", "6", "--masks", "4"])
    made = import_data(tmp_path / "out/cvat.zip", tmp_path / "again", rest="ignore")
    assert (len(made.found.labeled), len(made.found.unlabeled)) == (4, 2)
