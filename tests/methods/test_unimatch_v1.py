"""UniMatch V1 on a few pixels: who labels what, what is pasted where, and what the loss is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drawn import BATCH, CROP, Drawn  # tests/support/drawn.py
from torch import Tensor

from semiseg.augment import cutmix
from semiseg.data import Batch
from semiseg.data.spec import read_spec, shipped_specs
from semiseg.methods import ConsistencyConfig, Context, SharedSettings, make_teacher
from semiseg.methods.consistency import pseudo_label
from semiseg.methods.settings import NoSettings
from semiseg.methods.streams import Streams, forward_streams
from semiseg.methods.unimatch_v1 import UniMatchV1
from semiseg.models import ModelConfig, Segmenter, build_segmenter

SPEC = read_spec(shipped_specs()["camvid"])


@pytest.fixture
def student() -> Segmenter:
    config = ModelConfig(encoder="timm/test_resnet", decoder="deeplabv3plus", features=16, weights="random")
    return build_segmenter(config, SPEC.num_classes).train()


@pytest.fixture
def batch() -> Batch:
    return Drawn("unimatch_v1", SPEC)[0]


def streams(student: Segmenter, teacher: Segmenter, batch: Batch) -> Streams:
    return forward_streams(student, teacher, batch, student.normalize, student_labels=teacher is student)


def test_strong_views_show_and_learn_the_second_batch_inside_their_boxes(student: Segmenter, batch: Batch) -> None:
    assert batch.unlabeled is not None
    assert batch.second is not None
    pasted = pseudo_label(student, student.normalize(batch.second.images_BTCHW), batch.second.ignore_BHW)
    seen = streams(student, student, batch)
    for stream, draws in zip(seen.strong, batch.unlabeled.views, strict=True):
        assert torch.equal(stream.box_B4, draws.box_B4)
        found = (stream.pseudo.label_BHW, stream.pseudo.confidence_BHW, stream.pseudo.ignore_BHW)
        weak = (seen.weak.label_BHW, seen.weak.confidence_BHW, batch.unlabeled.ignore_BHW)
        content = (pasted.label_BHW, pasted.confidence_BHW, batch.second.ignore_BHW)
        for map_, own, other in zip(found, weak, content, strict=True):
            torch.testing.assert_close(map_, cutmix(own, draws.box_B4, other))


def test_the_images_of_the_second_batch_matter_inside_boxes_only(student: Segmenter, batch: Batch) -> None:
    """Strong views are the second pass: its input is seen by a hook."""
    given: list[Tensor] = []
    student.register_forward_pre_hook(lambda _module, images: given.append(images[0]))
    streams(student, student, batch)
    assert batch.second is not None
    other = replace(batch, second=replace(batch.second, images_BTHWC=255 - batch.second.images_BTHWC))
    streams(student, student, other)
    assert [len(images) for images in given] == [BATCH, 2 * BATCH, 2 * BATCH] * 2
    assert batch.unlabeled is not None
    boxes = torch.cat([draws.box_B4 for draws in batch.unlabeled.views])
    changed = (given[2] != given[5]).any(dim=(1, 2))
    inside = cutmix(torch.zeros(2 * BATCH, CROP, CROP), boxes, torch.ones(2 * BATCH, CROP, CROP)).bool()
    assert not (changed & ~inside).any()
    assert changed[inside].float().mean() > 0.9
    assert torch.equal(given[1], given[4])


def test_the_student_labels_weak_views_as_it_trains_and_a_teacher_as_it_evaluates(
    student: Segmenter, batch: Batch
) -> None:
    """In training, batch norm sees labeled and weak images together."""
    assert batch.unlabeled is not None
    weak = student.normalize(batch.unlabeled.images_BTCHW)
    evaluated = pseudo_label(student, weak, batch.unlabeled.ignore_BHW)
    teacher = make_teacher(student)
    assert torch.equal(streams(student, teacher, batch).weak.label_BHW, evaluated.label_BHW)
    with torch.no_grad():
        images = torch.cat((student.normalize(batch.labeled.images_BTCHW), weak))
        trained = student(images, at_levels=lambda levels: levels)
    assert not torch.equal(evaluated.confidence_BHW, trained[BATCH:].softmax(dim=1).amax(dim=1))


def test_dropped_features_learn_the_labels_of_the_weak_view_itself(student: Segmenter, batch: Batch) -> None:
    seen = streams(student, student, batch)
    assert seen.features.pseudo is seen.weak
    assert seen.features.box_B4 is None
    assert seen.features.pixels == batch.pixels.weak
    assert not torch.equal(seen.features.logits_BKHW.argmax(dim=1), seen.weak.label_BHW)
    assert not seen.weak.confidence_BHW.requires_grad


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_loss_weighs_the_streams_a_quarter_a_quarter_and_a_half(
    student: Segmenter, batch: Batch, weight: float
) -> None:
    shared = SharedSettings(consistency=ConsistencyConfig(threshold=0.0, weight=weight))
    device = torch.device("cpu")
    context = Context(spec=SPEC, model=student.config, crop=CROP, seed=0, device=device, normalize=student.normalize)
    state = {key: value.clone() for key, value in student.state_dict().items()}
    result = UniMatchV1(NoSettings(), shared, context).step(student, student, batch)
    student.load_state_dict(state)
    seen = streams(student, student, batch)
    mask = batch.labeled.mask_BHW.long()
    loss_x = torch.nn.functional.cross_entropy(seen.logits_x_BKHW, mask, ignore_index=SPEC.ignore_value)
    means = []
    for stream in (*seen.strong, seen.features):
        loss = torch.nn.functional.cross_entropy(stream.logits_BKHW, stream.pseudo.label_BHW, reduction="none")
        means.append(loss[~stream.pseudo.ignore_BHW].mean())
    expected = (loss_x + weight * (means[0] / 4 + means[1] / 4 + means[2] / 2)) / 2
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert result.logs["loss_fp"].item() == pytest.approx(means[2].item(), rel=1e-5)


def test_batch_norm_bears_a_batch_of_one(student: Segmenter) -> None:
    seen = streams(student, student, Drawn("unimatch_v1", SPEC, batch=1)[0])
    for stream in (*seen.strong, seen.features):
        assert stream.logits_BKHW.shape == (1, SPEC.num_classes, CROP, CROP)
        assert torch.isfinite(stream.logits_BKHW).all()
