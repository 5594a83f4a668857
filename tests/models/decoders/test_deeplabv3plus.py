from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fidelity import draws, rule  # benchmarks/fidelity.py
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, Segmenter, build_segmenter
from semiseg.models.decoders.deeplabv3plus import RATES, DeepLabV3Plus

GOLDEN = Path(__file__).parents[2] / "golden"

PUBLISHED_NAMES = (
    (r"^encoder\.backbone\.", "backbone."),
    (r"^decoder\.context\.branches\.4\.conv\.", "head.b4.gap.1."),
    (r"^decoder\.context\.branches\.4\.norm\.", "head.b4.gap.2."),
    (r"^decoder\.context\.branches\.(\d)\.", r"head.b\1."),
    (r"^decoder\.context\.project\.", "head.project."),
    (r"^decoder\.fuse\.1\.0\.", "fuse.3."),
    (r"^decoder\.fuse\.1\.1\.", "fuse.4."),
    (r"^decoder\.fuse\.0\.", "fuse."),
    (r"^decoder\.", ""),
)
"""From our keys to the names in the public code of UniMatch V1 (commit 0324f3d)."""


def published_name(key: str) -> str:
    for pattern, name in PUBLISHED_NAMES:
        key, found = re.subn(pattern, name, key)
        if found:
            break
    return key


def ruled(encoder: str, folder: Path) -> Segmenter:
    """Build a network whose weights follow the rule; the encoder's come from a file as the public code reads it."""
    config = ModelConfig(encoder=encoder, decoder="deeplabv3plus", weights="random")
    shapes = {key: tensor.shape for key, tensor in build_segmenter(config, 21).state_dict().items()}
    weights = {key: rule(published_name(key), tuple(shape)) for key, shape in shapes.items() if shape}
    backbone = {published_name(key)[9:]: value for key, value in weights.items() if key.startswith("encoder")}
    torch.save(backbone | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, folder / "encoder.pth")
    config = ModelConfig(encoder=encoder, decoder="deeplabv3plus", weights=str(folder / "encoder.pth"))
    segmenter = build_segmenter(config, 21)
    decoder = {key.removeprefix("decoder."): value for key, value in weights.items() if key.startswith("decoder")}
    segmenter.decoder.load_state_dict(decoder, strict=False)  # the norms' counts of batches have no rule
    return segmenter


def assert_same(tensor: Tensor, golden: dict[str, list[float]]) -> None:
    flat = tensor.double().flatten()
    spaced = np.linspace(0, len(flat) - 1, len(golden["values"])).astype(int)
    scale = float(golden["norm"]) / len(flat) ** 0.5
    found = {"mean": float(flat.mean()), "std": float(flat.std(correction=0)), "norm": float(flat.norm())}
    assert found == {name: pytest.approx(golden[name], rel=1e-4, abs=1e-4 * scale) for name in found}
    assert flat[spaced].tolist() == pytest.approx(golden["values"], rel=1e-4, abs=1e-4 * scale)


@pytest.mark.parametrize("encoder", ["resnet101", "resnet50"])
def test_levels_logits_and_norms_are_the_published_ones(encoder: str, tmp_path: Path) -> None:
    """What the public code of UniMatch V1 gave, in evaluation and in training, at the crop of 321 pixels or more."""
    ((size, golden),) = json.loads((GOLDEN / f"models_deeplabv3plus_{encoder}.json").read_text()).items()
    height, width = map(int, size.split("x"))
    images = torch.from_numpy(draws(f"image {size}", (2, 3, height, width)).astype(np.float32))
    segmenter = ruled(encoder, tmp_path)
    with torch.no_grad():
        for index, level in enumerate(segmenter.eval().encoder(images)):
            assert_same(level, golden[f"level{index}"])
        assert_same(segmenter(images[:, None]), golden["logits"])
        assert_same(segmenter.train()(images[:, None]), golden["train_logits"])
    state = {published_name(key): value for key, value in segmenter.state_dict().items()}
    for kind in ("running_mean", "running_var"):
        moved = torch.cat([state[name].flatten() for name in sorted(state) if name.endswith(kind)])
        assert_same(moved, golden[kind])


@pytest.fixture
def decoder() -> DeepLabV3Plus:
    torch.manual_seed(0)
    return DeepLabV3Plus(fine=6, deep=10, features=8, num_classes=3)


def levels(batch: int) -> list[Tensor]:
    sizes = ((6, 17, 13), (7, 9, 7), (9, 5, 4), (10, 5, 4))
    return [torch.randn(batch, *size) for size in sizes]


def test_logits_have_the_size_of_the_finest_level_and_the_middle_ones_do_not_matter(decoder: DeepLabV3Plus) -> None:
    given = levels(2)
    logits = decoder.eval()(given)
    assert logits.shape == (2, 3, 17, 13)
    for index in range(4):
        changed = [level + (index == position) for position, level in enumerate(given)]
        assert torch.equal(decoder(changed), logits) == (index in (1, 2))


def test_a_pixel_sees_as_far_as_a_dilation_and_by_pooling_everything(decoder: DeepLabV3Plus) -> None:
    deep = torch.randn(1, 10, 1, 60, requires_grad=True)
    reach = []
    for branch in decoder.eval().context.branches:
        (gradient,) = torch.autograd.grad(branch(deep)[..., 30].sum(), deep)
        reach.append(int(gradient.abs().sum(dim=(0, 1, 2)).nonzero().max()) - 30)
    assert reach == [0, *RATES, 29]


def test_one_image_alone_trains_and_does_not_move_the_norm_of_its_pooling(decoder: DeepLabV3Plus) -> None:
    norm = decoder.train().context.branches[4].norm
    before = norm.running_mean.clone()
    decoder(levels(1)).sum().backward()
    assert torch.equal(norm.running_mean, before)
    assert norm.weight.grad is not None
    decoder(levels(2))
    assert not torch.equal(norm.running_mean, before)


def test_the_hook_changes_the_features_before_the_classifier(decoder: DeepLabV3Plus) -> None:
    seen: list[Tensor] = []
    logits = decoder.eval()(levels(2), at_features=lambda features: seen.append(features) or 0 * features)
    assert seen[0].shape == (2, decoder.features, 17, 13)
    torch.testing.assert_close(logits, decoder.classifier.bias.view(1, 3, 1, 1).expand_as(logits))


@pytest.mark.parametrize("sizes", [{"features": 0}, {"features": 4096}, {"level_widths": (8, 8, 8, 8)}])
def test_sizes_that_it_cannot_have_are_an_error(sizes: dict[str, int]) -> None:
    config = ModelConfig(encoder="vit_nano", decoder="deeplabv3plus", weights="random", **sizes)
    with pytest.raises(ModelError, match="DeepLabV3\\+ cannot have features"):
        build_segmenter(config, 3)
