from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from semiseg.conversion import convert
from semiseg.data.palette import default_palette
from semiseg.errors import ModelError
from semiseg.models import ModelCard, ModelConfig, build_segmenter, load_model, published_names, read_card, save_model
from semiseg.models.published import MASK_TOKEN

pytestmark = pytest.mark.usefixtures("_shallow")

SIZES: dict[str, Any] = {"weights": "random", "features": 8, "level_widths": (8, 8, 8, 8)}


def write_checkpoint(path: Path, num_classes: int, mask_token: float = 0.0) -> dict[str, Tensor]:
    """Write a checkpoint of a small DINOv2 with a small decoder; return the teacher's state dict."""
    state = build_segmenter(ModelConfig(**SIZES), num_classes).state_dict()
    names = published_names(state)
    teacher = {f"module.{names[key]}": value for key, value in state.items()}
    teacher[f"module.{MASK_TOKEN}"] = torch.full((1, 384), mask_token)
    student = {key: torch.full((1,), 0.5).expand(value.shape) for key, value in teacher.items()}
    torch.save({"model": student, "model_ema": teacher, "epoch": 59}, path)
    return teacher


def save_nano(folder: Path) -> None:
    config = ModelConfig(encoder="vit_nano", weights="random")
    card = ModelCard(classes=("a", "b"), palette=default_palette(2), crop=32, model=config)
    save_model(folder, build_segmenter(config, 2), card)


@pytest.fixture
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave DINOv2 one block of twelve: nothing here runs the network, and its files are a tenth of the size."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *names, **options: create(*names, **options, depth=1))


@pytest.mark.parametrize("mask_token", [0.0, 0.25])
def test_a_round_trip_is_bit_equal(tmp_path: Path, mask_token: float) -> None:
    teacher = write_checkpoint(tmp_path / "best.pth", 21, mask_token)
    convert(tmp_path / "best.pth", tmp_path / "run" / "model")
    assert len(list((tmp_path / "run" / "model").iterdir())) == (4 if mask_token else 3)
    back = convert(tmp_path / "run", tmp_path / "back" / "ours.pth")
    assert (back.path, back.part, back.encoder, back.frames) == (tmp_path / "back/ours.pth", None, "dinov2_small", 1)
    content = torch.load(tmp_path / "back" / "ours.pth", weights_only=True)
    assert content.keys() == {"model"}
    assert content["model"].keys() == teacher.keys()
    assert all(torch.equal(content["model"][key], value) for key, value in teacher.items())


def test_a_checkpoint_becomes_a_model(tmp_path: Path) -> None:
    teacher = write_checkpoint(tmp_path / "best.pth", 21)
    converted = convert(tmp_path / "best.pth", tmp_path / "model")
    model, card = load_model(tmp_path / "model")
    assert torch.equal(model.decoder.classifier.bias, teacher["module.head.scratch.output_conv.2.bias"])
    assert (card.frames, card.crop, card.protocol, card.ignore_value) == (1, 518, "original", 255)
    assert (card.model.encoder, card.model.features, card.model.level_widths) == ("dinov2_small", 8, (8, 8, 8, 8))
    assert card.classes[:2] == ("background", "aeroplane")
    assert card.palette[1] == (128, 0, 0)
    assert converted.classes == card.classes
    assert str(converted).splitlines() == [
        "teacher: dinov2_small, segmentation, 21 classes",
        "note: the classes are those of pascal, the only known data set with 21",
        f"written: {tmp_path / 'model'}",
    ]


def test_the_student_can_be_asked_for(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.pth", 21)
    assert convert(tmp_path / "best.pth", tmp_path / "model", part="student").part == "student"
    model, _ = load_model(tmp_path / "model")
    assert all(bool((value == 0.5).all()) for value in model.state_dict().values())


def test_a_named_data_set_gives_its_classes_and_protocol(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.pth", 19)
    converted = convert(tmp_path / "best.pth", tmp_path / "model", spec="cityscapes")
    card = read_card(tmp_path / "model")
    assert (card.classes[0], card.palette[0], card.protocol, card.crop) == ("road", (128, 64, 128), "sliding", 798)
    assert converted.notes == ()


def test_classes_of_no_known_data_set_have_no_names(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.pth", 2)
    converted = convert(tmp_path / "best.pth", tmp_path / "model")
    card = read_card(tmp_path / "model")
    assert (card.classes, card.palette) == (("class_0", "class_1"), default_palette(2))
    assert len(converted.notes) == 2
    assert "no data set that is known" in converted.notes[0]
    assert "change detection" in converted.notes[1]


def test_change_detection_is_said_by_frames(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.pth", 2)
    converted = convert(tmp_path / "best.pth", tmp_path / "model", frames=2)
    model, card = load_model(tmp_path / "model")
    assert (model.frames, card.frames, card.crop, len(converted.notes)) == (2, 2, 252, 1)
    assert "teacher: dinov2_small, change detection, 2 classes" in str(converted)
    assert card.classes == ("unchanged", "changed")
    assert "those of levir or whu" in converted.notes[0]


@pytest.mark.parametrize("name", ["levir", "whu"])
def test_a_data_set_of_pairs_says_that_there_are_two_frames(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path / "best.pth", 2)
    converted = convert(tmp_path / "best.pth", tmp_path / "model", spec=name)
    card = read_card(tmp_path / "model")
    assert (converted.frames, card.frames, card.crop, card.classes) == (2, 2, 252, ("unchanged", "changed"))
    assert converted.notes == ()
    with pytest.raises(ModelError, match=f"frames is 1, the data set {name} has 2"):
        convert(tmp_path / "best.pth", tmp_path / "other", spec=name, frames=1)
    assert not (tmp_path / "other").exists()


def test_what_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    teacher = write_checkpoint(tmp_path / "best.pth", 21)
    del teacher["module.backbone.norm.bias"]
    torch.save(teacher, tmp_path / "short.pth")
    with pytest.raises(ModelError, match=r"missing: backbone\.norm\.bias"):
        convert(tmp_path / "short.pth", tmp_path / "model")
    with pytest.raises(ModelError, match="has 21 classes, the data set cityscapes has 19"):
        convert(tmp_path / "best.pth", tmp_path / "model", spec="cityscapes")
    with pytest.raises(ModelError, match="did you mean 'pascal'"):
        convert(tmp_path / "best.pth", tmp_path / "model", spec="pascl")
    for frames in (0, 3):
        with pytest.raises(ModelError, match=f"{frames} frames"):
            convert(tmp_path / "best.pth", tmp_path / "model", frames=frames)
    assert not (tmp_path / "model").exists()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    save_nano(tmp_path / "model")
    (tmp_path / "file.pth").write_bytes(b"mine")
    for source, out in (("file.pth", "model"), ("none.pth", "file.pth"), ("model", "file.pth")):
        with pytest.raises(ModelError, match="something already"):
            convert(tmp_path / source, tmp_path / out)
    assert (tmp_path / "file.pth").read_bytes() == b"mine"


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.pth", 21)
    (tmp_path / "model").mkdir()
    convert(tmp_path / "best.pth", tmp_path / "model")
    assert read_card(tmp_path / "model").crop == 518


def test_a_way_back_that_is_none_is_an_error(tmp_path: Path) -> None:
    save_nano(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"ends in \.pth"):
        convert(tmp_path / "model", tmp_path / "ours")
    with pytest.raises(ModelError, match="only with a published checkpoint"):
        convert(tmp_path / "model", tmp_path / "ours.pth", frames=2)
    with pytest.raises(ModelError, match="no place for the encoder vit_nano"):
        convert(tmp_path / "model", tmp_path / "ours.pth")
    with pytest.raises(ModelError, match="no model here"):
        convert(tmp_path / "empty", tmp_path / "ours.pth")
    with pytest.raises(ModelError, match="no such checkpoint"):
        convert(tmp_path / "none", tmp_path / "ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "model"]


def test_a_mask_token_of_another_model_is_an_error(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.pth", 21, mask_token=1.0)
    convert(tmp_path / "best.pth", tmp_path / "model")
    save_nano(tmp_path / "model")
    with pytest.raises(ModelError, match="mask token is of another model"):
        convert(tmp_path / "model", tmp_path / "ours.pth")
