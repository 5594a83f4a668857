"""The evidential loss and certainty, against sums written out, where alpha are whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from semiseg.data.palette import default_palette
from semiseg.data.spec import DatasetSpec
from semiseg.errors import ConfigError
from semiseg.methods import Context, LossConfig, SharedSettings, find_method
from semiseg.methods.consistency import consistency_loss
from semiseg.methods.evidence import certainty, evidential_loss
from semiseg.methods.labels import Selection, opinion
from semiseg.models import ModelConfig, build_segmenter

B, K, H, W = 2, 4, 3, 5


def drawn() -> tuple[Tensor, Tensor]:
    """Whole alpha, and labels."""
    generator = torch.Generator().manual_seed(0)
    alpha = torch.randint(1, 9, (B, K, H, W), generator=generator)
    return alpha, torch.randint(0, K, (B, 1, H, W), generator=generator)


def test_the_loss_is_the_expected_cross_entropy() -> None:
    """The expected -log p of a Dirichlet distribution is sum(1 / i) over i from alpha to S - 1."""
    alpha, label = drawn()
    loss, slope = evidential_loss(alpha.double().log(), label)
    for b, y, x in np.ndindex(B, H, W):
        total, own = int(alpha[b, :, y, x].sum()), int(alpha[b, label[b, 0, y, x], y, x])
        assert loss[b, 0, y, x].item() == pytest.approx(sum(1 / i for i in range(own, total)), rel=1e-12)
    logits = alpha.double().log().requires_grad_()
    total = logits.exp().sum(dim=1, keepdim=True)
    (torch.digamma(total) - torch.digamma(logits.exp().gather(1, label))).sum().backward()
    torch.testing.assert_close(slope(), logits.grad)


def test_the_filter_is_by_the_evidence() -> None:
    alpha, _ = drawn()
    expected = 1 - K / alpha.double().sum(dim=1)
    torch.testing.assert_close(certainty(alpha.double().log()), expected)
    ignore = torch.zeros(B, H, W, dtype=torch.bool)
    pseudo = opinion(alpha.double().log(), ignore, evidence=True)
    torch.testing.assert_close(pseudo.confidence_BHW, expected)
    assert torch.equal(pseudo.label_BHW, opinion(alpha.double().log(), ignore).label_BHW)
    logits = torch.randint(1, 9, (B, K, H, W)).double().log()
    found = consistency_loss(logits, pseudo, torch.tensor(B * H * W), Selection(0.75, evidence=True))
    loss, _ = evidential_loss(logits, pseudo.label_BHW[:, None])
    torch.testing.assert_close(found, (loss[:, 0] * (expected >= 0.75)).sum() / (B * H * W))


def test_a_networks_probabilities_are_the_mean_of_its_distribution() -> None:
    config = ModelConfig(encoder="vit_nano", weights="random", evidence=True)
    model, images = build_segmenter(config, K).eval(), torch.randn(1, 1, 3, 32, 32)
    evidence: list[Tensor] = []
    model.decoder.register_forward_hook(lambda module, given, logits: evidence.append(logits.relu()))
    with torch.no_grad():
        probabilities = model(images, enlarge=False).softmax(dim=1)
    alpha = 1 + evidence[0]
    assert (alpha > 1).any()
    torch.testing.assert_close(probabilities, alpha / alpha.sum(dim=1, keepdim=True))


def test_hard_pixels_are_refused() -> None:
    config = ModelConfig(encoder="vit_nano", weights="random", evidence=True)
    spec = DatasetSpec(name="tiny", classes=tuple("abcd"), palette=default_palette(K))
    context = Context(spec=spec, model=config, crop=32, seed=0, device=torch.device("cpu"), normalize=lambda x: x)
    method = find_method("supervised")
    with pytest.raises(ConfigError, match="the loss is evidential"):
        method(method.config_class(), SharedSettings(loss=LossConfig(labeled="ohem")), context)
