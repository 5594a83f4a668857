from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.api import recipe_config
from semiseg.data import DataConfig, check_dataset, load_dataset
from semiseg.data.predicted import MARK, MARKER, is_predicted, png_mark
from semiseg.data.reading import read_mask
from semiseg.data.spec import read_class_ids
from semiseg.errors import DataError

MASK = Image.fromarray(np.eye(12, dtype=np.uint8))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder of four images with a mask."""
    root = tmp_path / "fields"
    for number in range(4):
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (number, 0, 0)).save(root / f"images/{number}.png")
        MASK.save(root / f"masks/{number}.png")
    (root / "dataset.yaml").write_text("classes: [soil, crop]\n")
    return root


def check(root: Path, **settings: bool) -> None:
    config = DataConfig(root=str(root), **settings)  # type: ignore[arg-type]
    check_dataset(load_dataset(config), config.max_pixels, unlabeled=False)


def test_a_file_says_that_it_is_a_prediction(tmp_path: Path) -> None:
    marks = {"a.png": {"pnginfo": png_mark()}, "a.tif": {"tiffinfo": {305: MARK}}, "a.jpg": {"comment": MARK}}
    for name, options in marks.items():
        MASK.save(tmp_path / name, **options)
        MASK.save(tmp_path / f"plain_{name}")
        assert is_predicted(tmp_path / name)
        assert not is_predicted(tmp_path / f"plain_{name}")
    for name in ("a.png", "a.tif"):
        (tmp_path / f"cut_{name}").write_bytes((tmp_path / name).read_bytes()[:9])
        assert not is_predicted(tmp_path / f"cut_{name}")
    assert not is_predicted(tmp_path / "missing.png")
    (tmp_path / "notes.txt").write_text(MARK)
    assert not is_predicted(tmp_path / "notes.txt")


def test_a_marked_mask_is_no_label_unless_it_is_accepted(data: Path) -> None:
    check(data)
    MASK.save(data / "masks/2.png", pnginfo=png_mark())
    with pytest.raises(DataError, match=r"(?s)`semiseg predict` wrote.*2\.png.*--data\.accept_predicted true"):
        check(data)
    check(data, accept_predicted=True)
    assert read_mask(data / "masks/2.png", accept_predicted=True).shape == (12, 12)


def test_masks_in_a_marked_folder_are_no_labels_unless_they_are_accepted(data: Path) -> None:
    (data / "masks" / MARKER).write_text("{}")
    with pytest.raises(DataError, match=f"(?s)4 files cannot be used.*beside {MARKER}.*corrected remove {MARKER}"):
        check(data)
    check(data, accept_predicted=True)


def test_the_setting_comes_from_the_user_and_from_no_file(data: Path) -> None:
    assert recipe_config(str(data), ["--data.accept_predicted", "true"]).data.accept_predicted
    (data / "dataset.yaml").write_text("classes: [soil, crop]\naccept_predicted: true\n")
    with pytest.raises(DataError, match="unknown key 'accept_predicted'"):
        check(data)


def test_a_mask_that_a_person_saved_again_is_a_label(data: Path) -> None:
    path = data / "masks/0.png"
    MASK.save(path, pnginfo=png_mark())
    with Image.open(path) as image:
        image.load()
        image.save(path)
    spec = load_dataset(DataConfig(root=str(data))).spec
    assert read_class_ids(path, spec).shape == (12, 12)
