from __future__ import annotations

import pytest
import torch
from torch import nn

from semiseg.methods import ema_decay, make_teacher, update_teacher
from semiseg.models import ModelConfig, build_segmenter
from semiseg.models.config import Trains


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_first_update_copies_the_student() -> None:
    student, teacher = net(), make_teacher(net())
    with torch.no_grad():
        student[1].running_mean.fill_(3.0)
    update_teacher(teacher, student, ema_decay(0, 0.996))
    for name, value in student.state_dict().items():
        assert torch.equal(value, teacher.state_dict()[name]), name


def test_parameters_and_buffers_move_by_the_decay() -> None:
    student = net()
    teacher = make_teacher(student)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    with torch.no_grad():
        for value in student.state_dict().values():
            value.add_(1)
    update_teacher(teacher, student, 0.9)
    for name, value in teacher.state_dict().items():
        moved = 1 if name.endswith("num_batches_tracked") else 0.1  # counters are copied
        torch.testing.assert_close(value.double(), before[name].double() + moved, msg=name)


def test_the_teacher_does_not_learn_by_gradients() -> None:
    teacher = make_teacher(net())
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize(("trains", "shares"), [("all", False), ("attention", False), ("decoder", True)])
def test_a_frozen_encoder_is_in_memory_once(trains: Trains, shares: bool) -> None:
    student = build_segmenter(ModelConfig(encoder="vit_nano", weights="random", trains=trains), 3).train()
    teacher = make_teacher(student)
    assert (teacher.encoder is student.encoder) == shares
    assert teacher.decoder is not student.decoder
    assert teacher.state_dict().keys() == student.state_dict().keys()
    assert any(parameter.requires_grad for parameter in student.parameters())
    assert student.decoder.training
    before = {name: value.clone() for name, value in student.encoder.state_dict().items()}
    update_teacher(teacher, student, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in teacher.encoder.state_dict().items())
