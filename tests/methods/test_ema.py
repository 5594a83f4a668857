from __future__ import annotations

import torch
from torch import nn

from semiseg.methods import ema_decay, make_teacher, update_teacher


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
