from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semiseg.augment import StrongViewConfig
from semiseg.data import DataConfig, Dataset, DatasetSpec, Division, Sample, TrainStream, check_labels
from semiseg.data.predicted import is_predicted
from semiseg.data.taught import FACTS, label_path, read_label, write_label
from semiseg.errors import DataError

SPEC = DatasetSpec(name="noise", classes=("a", "b", "c"))
SIZE = (30, 20)


def drawn(root: Path, number: int) -> Sample:
    rng = np.random.default_rng(number)
    path = root / f"{number}.png"
    Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)).save(path)
    return Sample(f"images/{number}.png", (path,), None)


def labelled(folder: Path, sample: Sample, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    label_HW = rng.integers(0, 3, (SIZE[1], SIZE[0])).astype(np.uint8)
    confidence_HW = rng.integers(0, 256, (SIZE[1], SIZE[0])).astype(np.uint8)
    write_label(label_path(folder, sample), label_HW, (confidence_HW / 255).astype(np.float32))
    (folder / FACTS).write_text(json.dumps({"classes": list(SPEC.classes)}))
    return label_HW, confidence_HW


def test_a_label_is_read_as_it_was_written_and_is_marked_as_no_work_of_a_person(tmp_path: Path) -> None:
    sample = drawn(tmp_path, 1)
    label_HW, confidence_HW = labelled(tmp_path, sample)
    found = read_label(tmp_path, sample, SIZE)
    assert np.array_equal(found[0], label_HW)
    assert np.array_equal(found[1], confidence_HW)
    assert is_predicted(label_path(tmp_path, sample))


def test_an_image_from_outside_of_the_data_folder_has_its_label_inside_of_the_folder(tmp_path: Path) -> None:
    sample = Sample("/elsewhere/a.jpg", (Path("/elsewhere/a.jpg"),), None)
    assert label_path(tmp_path, sample) == tmp_path / "labels" / "elsewhere" / "a.jpg.png"


def test_a_label_follows_its_crop_through_scale_place_and_flip(tmp_path: Path) -> None:
    # The image shows its own label: wherever the crop lies, the two agree, and the padding is ignored.
    rng = np.random.default_rng(0)
    label_HW = np.kron(rng.integers(0, 3, (4, 6)), np.ones((10, 10))).astype(np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(np.repeat(label_HW[..., None] * 100, 3, axis=2)).save(path)
    sample = Sample("image.png", (path,), None)
    write_label(label_path(tmp_path, sample), label_HW, np.full(label_HW.shape, 0.8, dtype=np.float32))
    dataset = Dataset(SPEC, (Sample("x", (path,), path),), (sample,), ())
    config = DataConfig(crop=64, scale=(1.0, 1.0), teacher=str(tmp_path))
    stream = TrainStream(dataset, config, Division(labeled=0, unlabeled=1), strong=StrongViewConfig(), views=1, seed=0)
    flips = set()
    for epoch in range(8):
        found, _ = stream._unlabeled(epoch, [0], "unlabeled", {}, taught=True)
        assert found.taught is not None
        shown_HW = ~found.ignore_BHW[0]
        value_HW = (found.images_BTHWC[0, 0, ..., 0].float() / 100).round().byte()
        assert torch.equal(found.taught.label_BHW[0][shown_HW], value_HW[shown_HW])
        assert found.taught.confidence_BHW[0][shown_HW].unique().tolist() == [204]
        flips.add(bool(shown_HW[0, 0]))
    assert flips == {True, False}, "both a flipped crop, padded at the left, and one as it is"


def test_labels_are_not_read_once_the_own_average_labels(tmp_path: Path) -> None:
    sample = drawn(tmp_path, 1)
    labelled(tmp_path, sample)
    mask = tmp_path / "mask.png"
    Image.new("L", SIZE, 1).save(mask)
    dataset = Dataset(SPEC, (Sample("x", sample.frames, mask),), (sample,), ())
    config, division = DataConfig(crop=16, teacher=str(tmp_path)), Division(labeled=1, unlabeled=1)
    stream = TrainStream(dataset, config, division, strong=StrongViewConfig(), views=1, seed=0, steps=5, own_from=0.5)
    assert [stream[step].unlabeled.taught is not None for step in range(5)] == [True, True, True, False, False]  # type: ignore[union-attr]
    label_path(tmp_path, sample).unlink()
    assert stream[3].unlabeled is not None
    with pytest.raises(DataError, match="cannot be read"):
        stream[2]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "cannot be read"),
        (lambda path: Image.new("LA", (5, 5)).save(path), "5 x 5"),
        (lambda path: Image.new("L", SIZE).save(path), "mode L"),
    ],
    ids=["missing", "cut off", "of another size", "without confidence"],
)
def test_a_label_that_cannot_be_used_is_named(damage, said: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    sample = drawn(tmp_path, 1)
    labelled(tmp_path, sample)
    damage(label_path(tmp_path, sample))
    with pytest.raises(DataError, match=said) as error:
        read_label(tmp_path, sample, SIZE)
    assert "1.png.png" in str(error.value)
    assert "distill" in str(error.value)


def test_labels_are_held_against_the_data_before_the_first_step(tmp_path: Path) -> None:
    samples = [drawn(tmp_path, number) for number in range(3)]
    with pytest.raises(DataError, match="no labels of a trained teacher"):
        check_labels(tmp_path, samples, SPEC)
    for sample in samples[:2]:
        labelled(tmp_path, sample)
    check_labels(tmp_path, samples[:2], SPEC)
    with pytest.raises(DataError, match="1 of 3 unlabeled images"):
        check_labels(tmp_path, samples, SPEC)
    with pytest.raises(DataError, match="other classes"):
        check_labels(tmp_path, samples[:2], DatasetSpec(name="other", classes=("a", "b", "d")))
