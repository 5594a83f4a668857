from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.data.palette import default_palette
from semiseg.models import ModelCard, ModelConfig, build_segmenter, save_model
from semiseg.prediction import Predictor


def make_model(directory: Path, frames: int = 1) -> Path:
    """Save a tiny untrained model of three classes."""
    config = ModelConfig(encoder="vit_nano", weights="random")
    card = ModelCard(
        classes=("field", "road", "water"), palette=default_palette(3), frames=frames, crop=56, model=config
    )
    save_model(directory, build_segmenter(config, 3, frames), card)
    return directory


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model directory."""
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def predictor(model: Path) -> Predictor:
    """Return the model, loaded."""
    return Predictor.load(model, device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of three images of different sizes, one of them in a folder of its own."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name, size in {"a.jpg": (50, 40), "b.png": (28, 61), "deep/c.JPG": (43, 43)}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / name)
    return root


@pytest.fixture(scope="session")
def change_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model directory of a change detector."""
    return make_model(tmp_path_factory.mktemp("change"), frames=2)
