from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from semiseg.api import recipe_config
from semiseg.config import to_dict
from semiseg.data.spec import read_spec
from semiseg.engine.checkpoint import Checkpoint, save_checkpoint
from semiseg.models import ModelCard, build_segmenter, save_model


@pytest.fixture(autouse=True)
def _small_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show images small to the encoder: at 518 pixels the attention of `vit_nano`, of small patches, takes seconds."""
    monkeypatch.setattr("semiseg.suggestion.features.SIDE", 64)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of images alone: two scenes, each seen six times with a little noise, one file damaged."""
    folder = tmp_path / "photos"
    draw = np.random.default_rng(0)
    scenes = draw.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8).repeat(12, 1).repeat(12, 2)
    for number in range(12):
        noise = draw.integers(0, 6, scenes[0].shape, dtype=np.uint8)
        place = folder / f"drive {number % 2}" / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scenes[number % 2] // 2 + noise).save(place)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def run(tiny_scenes: Path, tmp_path: Path) -> Path:
    """Return what a training leaves: settings, a model, a checkpoint with student and teacher, both untrained."""
    words = ["--model.encoder", "vit_nano", "--model.weights", "random", "--data.crop", "32"]
    config, path = recipe_config(str(tiny_scenes), words), tmp_path / "run"
    path.mkdir()
    (path / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    spec = read_spec(tiny_scenes / "dataset.yaml")
    card = ModelCard(classes=spec.classes, palette=spec.palette, crop=32, model=config.model)
    teacher, student = (build_segmenter(config.model, spec.num_classes, seed=seed) for seed in (0, 1))
    save_model(path / "model", teacher, card)
    tensors = {f"teacher/{name}": tensor for name, tensor in teacher.state_dict().items()}
    tensors |= {f"student/{name}": tensor for name, tensor in student.state_dict().items()}
    save_checkpoint(path / "checkpoints", Checkpoint(3, tensors, {}))
    return path
