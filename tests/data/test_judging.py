from __future__ import annotations

from pathlib import Path

import pytest

from semiseg.data import DataConfig, find_judges, load_dataset
from semiseg.errors import DataError

CLASSES = "classes: [sky, road, tree]\n"


def folder(root: Path, *names: str) -> DataConfig:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "dataset.yaml").write_text(CLASSES)
    return DataConfig(root=str(root))


def test_without_data_of_its_own_a_model_is_judged_by_that_of_its_run(tmp_path: Path) -> None:
    config = folder(tmp_path, *(f"{kind}.{suffix}" for kind, suffix in [("images/a", "jpg"), ("images/b", "jpg")]))
    folder(tmp_path, "masks/a.png", "masks/b.png")
    judges = find_judges(None, config, tmp_path / "none")
    assert judges.val.samples == load_dataset(config).val
    assert "1 of 2 images with a mask are held out" in judges.val.origin
    with pytest.raises(DataError, match=r"(?s)no data named.*--data\.root FOLDER"):
        find_judges(None, None, tmp_path / "none")


def test_a_val_list_needs_nothing_else_of_the_data(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "val.txt").write_text("x.jpg y.png\n")
    config = DataConfig(root=str(tmp_path), val=str(tmp_path / "val.txt"))
    judges = find_judges(config, None, tmp_path / "none")
    assert [sample.id for sample in judges.val.samples] == ["x.jpg"]
    assert judges.val.origin == str(tmp_path / "val.txt")


def test_the_folder_val_goes_before_the_rest_of_a_folder(tmp_path: Path) -> None:
    config = folder(tmp_path, "images/train/a.jpg", "masks/train/a.png", "images/val/b.jpg", "masks/val/b.png")
    judges = find_judges(config, None, tmp_path / "none")
    assert [sample.id for sample in judges.val.samples] == ["images/val/b.jpg"]
    assert judges.val.origin == str(tmp_path / "images/val")


def test_a_folder_that_names_no_val_images_is_scored_whole(tmp_path: Path) -> None:
    config = folder(tmp_path, "images/a.jpg", "images/n/b.jpg", "images/c.jpg", "masks/a.png", "masks/n/b.png")
    judges = find_judges(config, None, tmp_path / "none")
    assert [sample.id for sample in judges.val.samples] == ["images/a.jpg", "images/n/b.jpg"]
    assert judges.trained_on({}) == []
