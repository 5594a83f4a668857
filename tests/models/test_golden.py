"""DINOv2 + DPT against figures taken from the published UniMatch V2 implementation.

Weights are not stored. Each tensor is filled by a rule from its published name and shape, on both sides; the figures in
`tests/golden/models_*.json` are what the published code then gave for an input made by the same rule: of every encoder
level and of the logits the mean, the standard deviation, the norm, and 32 values evenly spaced in the flattened tensor.
Here the weights come by way of a checkpoint as the public training writes it and `convert`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fidelity import draws, rule  # benchmarks/fidelity.py
from torch import Tensor

from semiseg.conversion import convert
from semiseg.engine.inference import predict_scores
from semiseg.models import ModelConfig, Segmenter, build_segmenter, load_model, published_names
from semiseg.models.published import MASK_TOKEN

GOLDEN = Path(__file__).parents[1] / "golden"


def converted(size: str, num_classes: int, frames: int = 1) -> Segmenter:
    """Write a published checkpoint whose teacher follows the rule, convert it, back too, and load the result."""
    with torch.device("meta"):
        model = build_segmenter(ModelConfig(encoder=f"dinov2_{size}", weights="random"), num_classes, frames)
    state = model.state_dict()
    shapes = {name: tuple(state[key].shape) for key, name in published_names(state).items()}
    shapes[MASK_TOKEN] = (1, model.width)
    teacher = {f"module.{name}": rule(name, shape, gain=1.4) for name, shape in shapes.items()}
    student = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in teacher.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save({"model": student, "model_ema": teacher, "previous_best": np.float64(74.1)}, folder / "best.pth")
        convert(folder / "best.pth", folder / "model", frames=frames)
        convert(folder / "model", folder / "back.pth")
        back = torch.load(folder / "back.pth", weights_only=True, mmap=True)["model"]
        assert back.keys() == teacher.keys()
        assert all(torch.equal(back[name], tensor) for name, tensor in teacher.items())
        return load_model(folder / "model")[0]


def assert_same(tensor: Tensor, golden: dict[str, Any]) -> None:
    flat = tensor.double().flatten()
    spaced = np.linspace(0, len(flat) - 1, len(golden["values"])).astype(int)
    scale = golden["norm"] / len(flat) ** 0.5  # RMS, what a difference of single values is relative to
    assert flat[spaced].numpy() == pytest.approx(golden["values"], rel=1e-4, abs=1e-4 * scale)
    assert float(flat.mean()) == pytest.approx(golden["mean"], rel=1e-4, abs=1e-4 * scale)
    assert float(flat.std(correction=0)) == pytest.approx(golden["std"], rel=1e-4)
    assert float(flat.norm()) == pytest.approx(golden["norm"], rel=1e-4)


@pytest.fixture(scope="module", params=["small", "base"])
def model_and_golden(request: pytest.FixtureRequest) -> tuple[Segmenter, dict[str, Any]]:
    model = converted(request.param, num_classes=21)
    return model, json.loads((GOLDEN / f"models_dinov2_{request.param}.json").read_text())


@pytest.mark.parametrize("size", ["518x518", "364x490"])
def test_features_and_logits_are_the_published_ones(
    model_and_golden: tuple[Segmenter, dict[str, Any]], size: str
) -> None:
    model, golden = model_and_golden
    height, width = map(int, size.split("x"))
    image = torch.from_numpy(draws(f"image {size}", (1, 3, height, width)).astype(np.float32))
    levels: list[Tensor] = []
    hook = model.encoder.register_forward_hook(lambda _module, _images, output: levels.extend(output))
    with hook, torch.inference_mode():
        logits = model(image[:, None])
    assert len(levels) == 4
    for index, level in enumerate(levels):
        assert_same(level, golden[size][f"level{index}"])
    assert_same(logits, golden[size]["logits"])


def test_change_detection_is_the_published_one() -> None:
    """Pairs of the size of the training crop, and of 256 pixels, which evaluation resizes to 252 and back."""
    model = converted("small", num_classes=2, frames=2)
    golden = json.loads((GOLDEN / "models_change_dinov2_small.json").read_text())
    crop, whole = (
        torch.from_numpy(draws(f"pair {side}", (1, 2, 3, side, side)).astype(np.float32)) for side in (252, 256)
    )
    with torch.inference_mode():
        for index, level in enumerate(model.encode(crop)):
            assert_same(level, golden["252x252"][f"level{index}"])
        assert_same(model(crop), golden["252x252"]["logits"])
        assert_same(predict_scores(model, whole, protocol="original", window=252), golden["256x256"]["logits"])
