from __future__ import annotations

from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from semiseg.data import DataConfig, load_dataset
from semiseg.data.folders import passed_over
from semiseg.data.reading import image_size, read_image
from semiseg.errors import DataError


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a photograph of 80 x 48, red at the left, that a telephone has turned by its EXIF."""
    pillow_heif.register_heif_opener()
    pixels = np.zeros((48, 80, 3), dtype=np.uint8)
    pixels[:, :40, 0] = pixels[:, 40:, 2] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images/a.heic", quality=90, exif=exif)
    return tmp_path / "images/a.heic"


def test_a_photograph_of_a_telephone_is_read_upright(photo: Path) -> None:
    image = read_image(photo)
    assert image.mode == "RGB"
    assert image_size(photo) == image.size
    assert image.size in ((48, 80), (80, 48))
    with Image.open(photo) as by_pillow:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(by_pillow.convert("RGB")))


def test_it_is_an_image_of_a_data_set(photo: Path) -> None:
    (photo.parent.parent / "masks").mkdir()
    Image.fromarray(np.zeros(image_size(photo)[::-1], dtype=np.uint8)).save(photo.parent.parent / "masks/a.png")
    (photo.parent.parent / "dataset.yaml").write_text("classes: [a, b]\n")
    dataset = load_dataset(DataConfig(root=str(photo.parent.parent), held_out=0.0))
    assert [sample.id for sample in dataset.labeled] == ["images/a.heic"]


def test_a_damaged_one_and_one_larger_than_the_cap_are_named(photo: Path) -> None:
    with pytest.raises(DataError, match="larger than the cap"):
        image_size(photo, 100)
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(DataError, match=r"(?s)image.*a\.heic"):
        read_image(photo)


def test_a_name_tells_what_to_do_about_videos() -> None:
    assert passed_over([Path("x.mp4")]) == "1 .mp4 (x.mp4); `semiseg data frames` makes images of videos"
