from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fidelity import apart, draws  # benchmarks/fidelity.py
from ruled_clip import EXACT, QUICK, ruled_clip  # tests/support
from torch import Tensor

from semiseg.data.palette import default_palette
from semiseg.data.spec import DatasetSpec
from semiseg.engine.precision import autocast
from semiseg.errors import ConfigError
from semiseg.methods import Context
from semiseg.methods.guidance import Guide, build_guide
from semiseg.models import Encoder, ModelConfig, build_segmenter
from semiseg.models.encoders.clip import CLIP
from semiseg.models.texts import embed_texts

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/semivl.json").read_text())
CPU = torch.device("cpu")


class Fixed(Encoder):
    """Features of a 1 x 2 grid for any image."""

    def __init__(self, left: list[float], right: list[float]) -> None:
        super().__init__()
        self.features = torch.tensor([left, right]).T[None, :, None]

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        return [self.features.expand(len(images_BCHW), -1, -1, -1)]


@pytest.mark.parametrize(("name", "side"), [(EXACT, "published"), (QUICK, "quickgelu")])
def test_labels_and_confidences_are_the_published_ones(name: str, side: str) -> None:
    """Four classes of 3, 1, 2 and 1 concepts, by CLIP as the published code computes it, and as it was trained."""
    clip = CLIP(name, (0, 4), "", False)
    clip.core().load_state_dict(clip.adapt(ruled_clip()))
    texts_NC, images_BCHW = (
        torch.from_numpy(draws(drawn, shape).astype(np.float32))
        for drawn, shape in (("concept texts 363", (7, 512)), ("clip image", (2, 3, 96, 160)))
    )
    guide = Guide(clip, texts_NC.split([3, 1, 2, 1]))
    pseudo = guide.label(images_BCHW[:, None], torch.zeros(2, 96, 160, dtype=torch.bool))
    assert apart(pseudo.confidence_BHW, GOLDEN[side]["confidence"]) < 1e-4
    label_BHW = pseudo.label_BHW.masked_fill(~pseudo.confident(0.9), 255)
    spaced = np.linspace(0, label_BHW.numel() - 1, 64).astype(int)
    assert label_BHW.flatten()[spaced].tolist() == GOLDEN[side]["labels"]["values"]
    counts = torch.bincount(label_BHW.flatten(), minlength=256)[[0, 1, 2, 3, 255]]
    assert counts.tolist() == pytest.approx(GOLDEN[side]["labels"]["counts"], abs=2)


def test_a_class_is_as_likely_as_its_likeliest_concept() -> None:
    a, b = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    between, neither = torch.tensor([[0.6, 0.8, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    guide = Guide(Fixed(a, b), [7 * between, torch.cat((torch.tensor([a]), neither))])
    ignore = torch.tensor([[[False] * 4 + [True] * 4]])
    pseudo = guide.label(torch.zeros(1, 1, 3, 1, 8), ignore)
    assert pseudo.label_BHW.tolist() == [[[1, 1, 1, 0, 0, 0, 0, 0]]]
    assert float(pseudo.confidence_BHW[0, 0, 0]) == pytest.approx(1.0)  # 1.0 against 0.6, times 100
    # 3/8 of the way to the other place, where similarities are 0.675 and 0.625
    assert float(pseudo.confidence_BHW[0, 0, 3]) == pytest.approx(1 / (1 + np.exp(-5)))
    assert torch.equal(pseudo.ignore_BHW, ignore)


def test_nearly_equal_classes_are_told_apart_under_autocast() -> None:
    """In bfloat16 both similarities would be the same number."""
    angle = torch.tensor(0.002)
    texts = [torch.tensor([[1.0, 0.0]]), torch.stack((angle.cos(), angle.sin()))[None]]
    guide = Guide(Fixed([0.8, 0.6], [0.8, -0.6]), texts)
    with autocast(True, CPU):
        pseudo = guide.label(torch.zeros(1, 1, 3, 1, 8), torch.zeros(1, 1, 8, dtype=torch.bool))
    assert (pseudo.label_BHW[0, 0, 0], pseudo.label_BHW[0, 0, -1]) == (1, 0)
    assert float(pseudo.confidence_BHW[0, 0, 0]) == pytest.approx(1 / (1 + np.exp(-0.12)), abs=1e-3)


def context(encoder: str) -> Context:
    model = ModelConfig(encoder=encoder, weights="random")
    student = build_segmenter(model, 2, seed=4)
    spec = DatasetSpec(name="x", classes=("a", "b"), palette=default_palette(2), concepts={"b": ("c", "d")})
    return Context(spec=spec, model=model, crop=32, seed=4, device=CPU, normalize=student.normalize)


def test_the_guide_is_the_students_encoder_before_it_learned_and_never_learns() -> None:
    found = context("clip_nano")
    guide = build_guide(found)
    student = build_segmenter(found.model, 2, seed=4)
    expected = student.encoder.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in guide.encoder.state_dict().items())
    assert not any(p.requires_grad for p in guide.encoder.parameters())
    assert not guide.encoder.training
    texts_NC = embed_texts(("a", "c", "d"), student.encoder, found.model, seed=4)
    torch.testing.assert_close(guide.texts_NC, texts_NC / texts_NC.norm(dim=1, keepdim=True))
    assert guide.sizes == [1, 2]


def test_an_encoder_that_knows_no_texts_cannot_guide() -> None:
    with pytest.raises(ConfigError, match="vit_nano cannot guide"):
        build_guide(replace(context("vit_nano")))
