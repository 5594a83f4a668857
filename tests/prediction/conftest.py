from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
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
    return Predictor.load(model, device="cpu", precision="fp32")


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


@pytest.fixture(scope="session")
def change(change_model: Path) -> Predictor:
    """Return the change detector, loaded."""
    return Predictor.load(change_model, device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def write_tif() -> Callable[..., Path]:
    """Return a function that writes bands (C, H, W) as a GeoTIFF of half-metre pixels."""
    rasterio = pytest.importorskip("rasterio", reason="rasterio (the extra geo) is not installed")

    def write(path: Path, pixels_CHW: NDArray[Any], *, x: float = 500_000.0, **options: Any) -> Path:
        count, height, width = pixels_CHW.shape
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, x, 0, -0.5, 5_000_000.0)}
        shape = {"count": count, "height": height, "width": width, "dtype": pixels_CHW.dtype}
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(path, "w", "GTiff", **shape, **place | options) as file:
            file.write(pixels_CHW)
        return path

    return write
