from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semiseg.augment import StrongViewConfig, draw_view, stack_views
from semiseg.data import Unlabeled
from semiseg.methods.consistency import (
    consistency_loss,
    evaluating,
    forward_together,
    pseudo_label,
    strong_view,
)
from semiseg.methods.dropout import drop_levels
from semiseg.methods.labels import PseudoLabel, Selection
from semiseg.models import FeatureHook, LevelHook


class Pointwise(nn.Module):
    """A segmenter without context that tells its mode and lets its logits be changed like levels or features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.modes: list[bool] = []

    def forward(
        self, images_BTCHW: Tensor, at_levels: LevelHook | None = None, at_features: FeatureHook | None = None
    ) -> Tensor:
        self.modes.append(self.training)
        logits: Tensor = self.conv(images_BTCHW[:, 0])
        if at_levels is not None:
            (logits,) = at_levels([logits])
        return logits if at_features is None else at_features(logits)


def test_confidence_is_the_largest_softmax_probability() -> None:
    model, images = Pointwise(), 5 * torch.randn(2, 1, 3, 6, 7)
    pseudo = pseudo_label(model, images, torch.zeros(2, 6, 7, dtype=torch.bool))
    expected = model(images).softmax(1).max(1)
    torch.testing.assert_close(pseudo.confidence_BHW, expected.values.detach())
    assert torch.equal(pseudo.label_BHW, expected.indices)
    assert not pseudo.confidence_BHW.requires_grad


def test_the_teacher_labels_in_eval_mode_and_returns_to_its_own() -> None:
    model = Pointwise().train()
    pseudo_label(model, torch.zeros(1, 1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool))
    assert model.modes == [False]
    assert model.training


def test_the_mode_returns_after_an_error() -> None:
    model = Pointwise().train()
    with pytest.raises(RuntimeError), evaluating(model):
        raise RuntimeError
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("why", ["all ignored", "none confident"])
def test_nothing_to_learn_gives_zero_loss_and_zero_gradient(why: str, dtype: torch.dtype) -> None:
    logits = torch.randn(2, 3, 4, 4, dtype=dtype, requires_grad=True)
    ignore = torch.full((2, 4, 4), why == "all ignored")
    pseudo = PseudoLabel(torch.zeros(2, 4, 4, dtype=torch.int64), torch.full((2, 4, 4), 0.5), ignore)
    loss = consistency_loss(logits, pseudo, (~ignore).sum(), Selection(0.95))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_streams_together_equal_streams_apart() -> None:
    model = Pointwise()
    x, s1, s2 = (torch.randn(size, 1, 3, 4, 4) for size in (3, 2, 2))
    keep = 2 * torch.randint(0, 2, (2, 4)).float()
    together = forward_together(model, (x, None), (s1, keep), (s2, 2 - keep))
    apart = (model(x), *(model(s, drop_levels(mask)) for s, mask in ((s1, keep), (s2, 2 - keep))))
    for found, expected in zip(together, apart, strict=True):
        torch.testing.assert_close(found, expected)


class PointwiseWithBatchNorm(Pointwise):
    """The same with a batch norm, which couples the samples of a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_with_batch_norm_the_labeled_stream_has_a_pass_of_its_own() -> None:
    model = PointwiseWithBatchNorm()
    apart = copy.deepcopy(model)
    x, s1, s2 = (torch.randn(2, 1, 3, 4, 4) for _ in range(3))
    keep = 2 * torch.randint(0, 2, (2, 4)).float()
    logits_x, logits_1, logits_2 = forward_together(model, (x, None), (s1, keep), (s2, 2 - keep))
    torch.testing.assert_close(logits_x, apart(x))
    strong = apart(torch.cat((s1, s2)), drop_levels(torch.cat((keep, 2 - keep))))
    torch.testing.assert_close(torch.cat((logits_1, logits_2)), strong)
    assert len(model.modes) == 2
    for ours, expected in zip(model.buffers(), apart.buffers(), strict=True):
        torch.testing.assert_close(ours, expected)


def test_without_batch_norm_there_is_one_pass() -> None:
    model = Pointwise()
    forward_together(model, *((torch.randn(2, 1, 3, 4, 4), None) for _ in range(3)))
    assert len(model.modes) == 1


def test_a_strong_view_mixes_images_and_labels_alike() -> None:
    # Flat images whose colour is their label, so that pixels and labels can be held against each other.
    config = StrongViewConfig(jitter_p=0, grayscale_p=0, blur_p=0, cutmix_p=1)
    shade_B = torch.tensor([10, 60, 110, 160])
    images = shade_B.view(4, 1, 1, 1, 1).expand(4, 1, 32, 32, 3).to(torch.uint8)
    draws = stack_views([draw_view(np.random.default_rng(index), 1, 32, config) for index in range(4)])
    label = shade_B.view(4, 1, 1).expand(4, 32, 32)
    pseudo = PseudoLabel(label, label / 255, label > 100)
    view = strong_view(Unlabeled(images, pseudo.ignore_BHW, (draws,)), pseudo, draws, lambda pixels: pixels)
    shown = (view.images_BTCHW[:, 0, 0] * 255).round().long()
    assert torch.equal(shown, view.pseudo.label_BHW)
    assert torch.equal(view.pseudo.ignore_BHW, shown > 100)
    torch.testing.assert_close(view.pseudo.confidence_BHW, shown / 255)
    assert (shown != label).any()


def test_streams_stay_together_under_batch_norm_where_published_so() -> None:
    model = PointwiseWithBatchNorm()
    apart = copy.deepcopy(model)
    x, s = (torch.randn(2, 1, 3, 4, 4) for _ in range(2))
    found = forward_together(model, (x, None), (s, None), together=True)
    torch.testing.assert_close(torch.cat(found), apart(torch.cat((x, s))))
    assert len(model.modes) == 1


def test_labels_leave_no_weights_behind_that_the_student_would_learn_with() -> None:
    model = Pointwise().train()
    images, ignore = torch.randn(2, 1, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        pseudo_label(model, images, ignore)
        model(images).float().sum().backward()
    assert model.conv.weight.grad is not None
    assert model.conv.weight.grad.any()
