from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.cli import main
from semiseg.data import DataConfig
from semiseg.data.inspection import inspect_data
from semiseg.errors import DataError

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def data(tiny_scenes: Path, tmp_path: Path) -> Path:
    """Return the tiny scenes: 4 labeled, 6 unlabeled, 2 val."""
    return Path(shutil.copytree(tiny_scenes, tmp_path / "data"))


def test_sound_data_have_counts_classes_and_no_faults(data: Path) -> None:
    ticks: list[tuple[int, int]] = []
    found = inspect_data(DataConfig(root=str(data)), tick=lambda done, count: ticks.append((done, count)))
    facts = found.facts()
    assert facts["sound"]
    assert facts["samples"] == {"labeled": 4, "unlabeled": 6, "val": 2}
    assert (ticks[0], ticks[-1], len(ticks)) == ((0, 12), (12, 12), 13)
    masks = [np.asarray(Image.open(path)) for path in sorted(data.glob("masks/scene_0*.png"))]
    for id_, row in enumerate(facts["classes"]):
        assert row["labeled_images"] == sum((mask == id_).any() for mask in masks)
        assert row["labeled_share"] == pytest.approx(np.mean([mask == id_ for mask in masks]), abs=0.02)
    assert sum(row["val_share"] for row in facts["classes"]) == pytest.approx(1)
    json.dumps(facts)


def test_unlabeled_images_are_decoded_and_hashed(data: Path) -> None:
    path = data / (data / "unlabeled.txt").read_text().split()[3]
    path.write_bytes(path.read_bytes()[:-100])
    found = inspect_data(DataConfig(root=str(data)))
    assert [str(path) in fault for fault in found.faults] == [True]
    assert all(file.sha256 for file in found.found.files.values())


def test_classes_that_no_mask_shows_are_notes(data: Path) -> None:
    text = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(
        text.replace("classes: [", "classes: [").replace("]\npalette", ", unicorn]\npalette").split("palette:")[0]
        + "ignore_value: 255\nlists: {labeled: labeled.txt, unlabeled: unlabeled.txt, val: val.txt}\n"
    )
    notes = inspect_data(DataConfig(root=str(data))).notes
    assert "no labeled mask shows unicorn: cannot be learned" in notes
    assert "no val mask shows unicorn: cannot be evaluated" in notes


def test_pairs_are_looked_at_in_both_pictures(levir_root: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(levir_root, tmp_path / "pairs"))
    found = inspect_data(DataConfig(root=str(data)))
    assert found.faults == ()
    assert len(found.found.files) == 11 * 3
    name = found.dataset.labeled[0].id
    Image.open(data / "B" / name).resize((256, 255)).save(data / "B" / name)
    (fault,) = inspect_data(DataConfig(root=str(data))).faults
    assert "images of 256 x 256 and 256 x 255 pixels" in fault


def test_a_list_is_looked_at_alone(data: Path, capsys: Captured) -> None:
    (data / "images/scene_000000.png").write_bytes(b"")  # in no such list
    assert main(["data", "check", str(data / "val.txt"), "--data.root", str(data)]) == 0
    assert "2 labeled, 0 unlabeled, 0 val" in capsys.readouterr().out
    assert main(["data", "check", str(data / "labeled.txt"), "--data.root", str(data)]) == 1
    assert "images/scene_000000.png" in capsys.readouterr().out


def test_exit_codes_tell_sound_from_faulty_from_missing(data: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "found.json"
    assert main(["data", "check", str(data), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["sound"]
    assert capsys.readouterr().out.rstrip().endswith("sound")
    Image.new("L", (64, 64), 99).save(data / "masks/scene_000002.png")
    assert main(["data", "check", str(data), "--json", str(out)]) == 1
    assert "mask values [99] are no class" in json.loads(out.read_text())["faults"][0]
    assert capsys.readouterr().out.rstrip().endswith("1 faults")
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 2
    assert main(["data", "check", str(data), "--data.crop", "x"]) == 2
    assert main(["data", "check", str(data), "--json", str(tmp_path)]) == 2


def test_settings_are_those_of_a_training(data: Path, capsys: Captured) -> None:
    assert main(["data", "check", str(data), "--data.split", "2"]) == 0
    assert "2 labeled, 8 unlabeled, 2 val" in capsys.readouterr().out
    assert main(["data", "check", str(data), "--data.max_pixels", "100"]) == 1
    with pytest.raises(DataError, match="99 labeled images wanted"):
        inspect_data(DataConfig(root=str(data), split="99"))


def test_the_help_names_what_can_be_checked(capsys: Captured) -> None:
    assert main(["data", "check", "-h"]) == 0
    assert "--manifest" in capsys.readouterr().out
    assert main(["data", "-h"]) == 0
    assert "data check FOLDER|RECIPE|LIST" in capsys.readouterr().out
