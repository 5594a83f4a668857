"""The three perturbed streams of UniMatch V1: features whose channels are dropped, and two strong views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semiseg.data import Batch, Place
from semiseg.methods.consistency import StrongView, pseudo_label, recoloured, strong_view
from semiseg.methods.context import Normalize
from semiseg.methods.dropout import with_dropped_copy
from semiseg.methods.labels import PseudoLabel, Reading, opinion
from semiseg.models import Segmenter


@dataclass(frozen=True)
class Stream:
    """What the student says of a perturbed unlabeled batch, and what it should have said.

    Attributes:
        logits_BKHW: of the student, with gradient.
        pseudo: the label of each pixel, mixed as the images were.
        pixels: the divisor of its loss.
        box_B4: where the second batch was pasted; None: nowhere.
    """

    logits_BKHW: Tensor
    pseudo: PseudoLabel
    pixels: Tensor
    box_B4: Tensor | None = None


@dataclass(frozen=True)
class Streams:
    """Logits of the labeled images, and the streams of the unlabeled ones; `weak` is the label before any CutMix."""

    logits_x_BKHW: Tensor
    weak: PseudoLabel
    features: Stream
    strong: tuple[Stream, ...]


def forward_streams(
    student: nn.Module,
    teacher: Segmenter,
    batch: Batch,
    normalize: Normalize,
    *,
    student_labels: bool,
    read: Reading = opinion,
) -> Streams:
    """Run the two passes of UniMatch V1 (algorithm 1).

    The first is of labeled and weak images, decoded twice, the second time with dropped channels; the second pass is of
    both strong views. Batch norms see what shares a pass together, as published.

    Args:
        student: the segmenter that learns.
        teacher: who labels the second batch, in eval mode: the student itself as published.
        batch: with two strong views and a second unlabeled batch.
        normalize: the student's.
        student_labels: whether the weak images are labeled by what the first pass says of them, else by the teacher.
        read: how the logits of whoever labels are read.
    """
    unlabeled, second = batch.unlabeled, batch.second
    assert unlabeled is not None, "the stream draws what the method's class asks for"
    assert second is not None, "the stream draws what the method's class asks for"
    pasted = pseudo_label(teacher, normalize(second.images_BTCHW), second.ignore_BHW, read)
    weak_BTCHW, ignore_BHW = normalize(unlabeled.images_BTCHW), unlabeled.ignore_BHW
    logits_x, logits_w, logits_fp = _weak_pass(student, normalize(batch.labeled.images_BTCHW), weak_BTCHW, batch.place)
    weak = read(logits_w, ignore_BHW) if student_labels else pseudo_label(teacher, weak_BTCHW, ignore_BHW, read)

    views = []
    for draws, others in zip(unlabeled.views, second.views, strict=True):
        content = StrongView(recoloured(second.images_BTCHW, others, normalize), pasted)
        views.append(strong_view(unlabeled, weak, draws, normalize, content))
    logits = student(torch.cat([view.images_BTCHW for view in views])).chunk(len(views))
    strong = tuple(
        Stream(logits_s, view.pseudo, pixels, draws.box_B4)
        for logits_s, view, pixels, draws in zip(logits, views, batch.pixels.views, unlabeled.views, strict=True)
    )
    return Streams(logits_x, weak, Stream(logits_fp, weak, batch.pixels.weak), strong)


def _weak_pass(
    student: nn.Module, labeled_BTCHW: Tensor, weak_BTCHW: Tensor, place: Place
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of labeled images, of weak ones without gradient, and of weak ones with dropped channels."""
    logits_BKHW = student(torch.cat((labeled_BTCHW, weak_BTCHW)), at_levels=with_dropped_copy(place))
    sizes = 2 * (len(labeled_BTCHW), len(weak_BTCHW))
    logits_x, logits_w, _, logits_fp = logits_BKHW.split(sizes)
    return logits_x, logits_w.detach(), logits_fp


def stream_loss(loss_fp: Tensor, loss_1: Tensor, loss_2: Tensor) -> Tensor:
    """Weigh the losses of the perturbed features, 1/2, and of two strong views, 1/4 each (section 3.4)."""
    return loss_1 / 4 + loss_2 / 4 + loss_fp / 2
