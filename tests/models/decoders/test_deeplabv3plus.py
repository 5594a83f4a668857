from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from deeplab import deeplab_names, from_file  # tests/support/deeplab.py
from fidelity import apart, computing_in, draws  # benchmarks/fidelity.py
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, build_segmenter
from semiseg.models.decoders.deeplabv3plus import RATES, DeepLabV3Plus

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("encoder", ["resnet101", "resnet50"])
def test_levels_logits_and_norms_are_the_published_ones(encoder: str, tmp_path: Path) -> None:
    """What the public code of UniMatch V1 gave, in evaluation and in training, at the crop of 321 pixels or more."""
    ((size, golden),) = json.loads((GOLDEN / f"models_deeplabv3plus_{encoder}.json").read_text()).items()
    height, width = map(int, size.split("x"))
    images = torch.from_numpy(draws(f"image {size}", (2, 3, height, width)).astype(np.float32))
    segmenter = from_file(encoder, tmp_path)
    with torch.no_grad():
        for index, level in enumerate(segmenter.eval().encoder(images)):
            assert apart(level, golden[f"level{index}"]) < 1e-4
        assert apart(segmenter(images[:, None]), golden["logits"]) < 1e-4
        # In float64, as the public code was run: the norm of pooled pixels divides by the variance of two values, and
        # the rounding of float32 becomes 2e-3 of the logits, another one on each processor.
        with computing_in("float64"):
            trained = segmenter.double().train()(images.double()[:, None])
        assert apart(trained, golden["train_logits"]) < 1e-9
    state = segmenter.state_dict()
    names = sorted((name, key) for key, name in deeplab_names(state).items())
    for kind in ("running_mean", "running_var"):
        moved = torch.cat([state[key].flatten() for name, key in names if name.endswith(kind)])
        assert apart(moved, golden[kind]) < 1e-4


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
