"""What FixMatch and its descendants share: pseudo-labels, strong views of them, and the loss between the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm  # what all of them share, SyncBatchNorm too

from semiseg.augment import ViewDraws, apply_photometric, cutmix
from semiseg.data import Unlabeled
from semiseg.methods.context import Normalize
from semiseg.methods.cross_entropy import loss_sum
from semiseg.methods.dropout import drop_features, drop_levels
from semiseg.methods.labels import PseudoLabel, Reading, Selection, opinion
from semiseg.methods.losses import pixel_loss, share
from semiseg.models import FeatureHook, LevelHook


@dataclass(frozen=True)
class StrongView:
    """A strong view: normalised `images_BTCHW` and the pseudo-label mixed alike."""

    images_BTCHW: Tensor
    pseudo: PseudoLabel


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model into eval mode and back into the mode it was in."""
    training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(training)


def _casting_anew(device_type: str) -> torch.autocast:
    """Return the autocast of here and now, without its cache of cast weights.

    A student that labels for itself would leave weights in the cache that were cast without a gradient, and torch up to
    2.10 then takes them for the student's own forward pass: its linear layers would not train (PyTorch PR 165068).
    """
    return torch.autocast(
        device_type,
        dtype=torch.get_autocast_dtype(device_type),
        enabled=torch.is_autocast_enabled(device_type),
        cache_enabled=False,
    )


@torch.no_grad()
def predict(teacher: nn.Module, images_BTCHW: Tensor, at_levels: LevelHook | None = None) -> Tensor:
    """Return the teacher's logits of normalised weak views in eval mode, fp32.

    `no_grad`, not `inference_mode`: tensors made under the latter cannot be saved for the student's backward pass.
    """
    with evaluating(teacher), _casting_anew(images_BTCHW.device.type):
        logits_BKHW: Tensor = teacher(images_BTCHW) if at_levels is None else teacher(images_BTCHW, at_levels)
    return logits_BKHW.float()


def pseudo_label(teacher: nn.Module, images_BTCHW: Tensor, ignore_BHW: Tensor, read: Reading = opinion) -> PseudoLabel:
    """Label normalised weak views with the teacher in eval mode, whose logits are read as told."""
    return read(predict(teacher, images_BTCHW), ignore_BHW)


def labels_of(teacher: nn.Module, images_BTCHW: Tensor, unlabeled: Unlabeled, read: Reading = opinion) -> PseudoLabel:
    """Return the labels of weak views: those that a trained teacher gave them, else the own teacher's.

    Args:
        teacher: the run's own.
        images_BTCHW: the weak views, normalised.
        unlabeled: what they are made of.
        read: how the own teacher's logits are read; a trained one's labels are final.
    """
    taught, ignore_BHW = unlabeled.taught, unlabeled.ignore_BHW
    if taught is None:
        return pseudo_label(teacher, images_BTCHW, ignore_BHW, read)
    return PseudoLabel(taught.label_BHW.long(), taught.confidence_BHW.float() / 255, ignore_BHW)


def recoloured(images_BTCHW: Tensor, draws: ViewDraws, normalize: Normalize) -> Tensor:
    """Return uint8 images after the photometric changes of each frame, normalised."""
    return normalize(apply_photometric(images_BTCHW, draws.photometric))


def strong_view(
    unlabeled: Unlabeled,
    pseudo: PseudoLabel,
    draws: ViewDraws,
    normalize: Normalize,
    content: StrongView | None = None,
) -> StrongView:
    """Make one strong view: photometric changes of each frame, then CutMix of images and pseudo-label alike.

    Args:
        unlabeled: the crops.
        pseudo: their labels.
        draws: of this view.
        normalize: the student's.
        content: what CutMix pastes (UniMatch V1, SemiVL); None: the view itself in reverse order.
    """
    images = recoloured(unlabeled.images_BTCHW, draws, normalize)
    pasted = None if content is None else content.images_BTCHW
    mixed = pseudo.mixed(draws.box_B4, None if content is None else content.pseudo)
    return StrongView(cutmix(images, draws.box_B4, pasted), mixed)


def consistency_loss(
    logits_BKHW: Tensor, pseudo: PseudoLabel, pixels: Tensor, selection: Selection, *, align_corners: bool = True
) -> Tensor:
    """Return the chunk's share of one view's unlabeled loss; smaller logits are enlarged to the size of the labels.

    Cross-entropy (or the evidential loss) against the pseudo-label, zero where it is unsure or ignored, or weighed as
    selected, divided by all pixels that are not ignored (not by the confident ones), so that the loss grows with the
    teacher's confidence.
    """
    weight_BHW = selection.weights(pseudo)
    of_pixel = pixel_loss(selection.evidence)
    total = loss_sum(logits_BKHW, pseudo.label_BHW, weight_BHW, align_corners=align_corners, pixel_loss=of_pixel)
    return share(total, pixels)


def confident_share(pseudo: PseudoLabel, pixels: Tensor, selection: Selection) -> Tensor:
    """Return the chunk's share of the part of weak pixels whose label is sure, for the log."""
    return share(selection.confident(pseudo).sum(dtype=torch.float32), pixels)


def consistency_logs(
    loss_x: Tensor, loss_s: Tensor, pseudo: PseudoLabel, pixels: Tensor, selection: Selection
) -> dict[str, Tensor]:
    """Return what every method that learns pseudo-labels logs: both losses and the confident part of weak pixels."""
    return {
        "loss_x": loss_x.detach(),
        "loss_s": loss_s.detach(),
        "confident": confident_share(pseudo, pixels, selection),
    }


def forward_together(
    student: nn.Module,
    *streams: tuple[Tensor, Tensor | None],
    keep_at: Literal["encoder", "classifier"] = "encoder",
    together: bool = False,
    enlarge: bool = True,
) -> list[Tensor]:
    """Run several streams of images through the student in one pass and part the logits again.

    One pass instead of several halves the launches, and under DistributedDataParallel there is one forward pass for
    each backward pass. Where no layer couples the samples of a batch, the results are those of separate passes. Batch
    norms do couple them: then the first stream, the labeled one, has a pass of its own and the others share one, as
    published with UniMatch V2, so that each pass is normalised by statistics of its own; unless told to stay together.

    Args:
        student: the segmenter.
        *streams: pairs of normalised `images_BTCHW` and channel multipliers `keep_BD`, or None for no dropout.
        keep_at: where the multipliers act.
        together: let batch norms see all streams at once (the published FixMatch).
        enlarge: whether the logits come in the size of the images, or in the decoder's.
    """
    if together or not any(isinstance(module, BatchNorm) for module in student.modules()):
        return _one_pass(student, streams, keep_at, enlarge)
    return [*_one_pass(student, streams[:1], keep_at, enlarge), *_one_pass(student, streams[1:], keep_at, enlarge)]


def _one_pass(
    student: nn.Module,
    streams: Sequence[tuple[Tensor, Tensor | None]],
    keep_at: Literal["encoder", "classifier"],
    enlarge: bool,
) -> list[Tensor]:
    sizes = [len(images) for images, _ in streams]
    dropped = next((keep for _, keep in streams if keep is not None), None)
    hooks: dict[str, LevelHook | FeatureHook | bool] = {} if enlarge else {"enlarge": False}
    if dropped is not None:
        ones = [dropped.new_ones(size, dropped.shape[1]) for size in sizes]
        keep_BD = torch.cat([one if keep is None else keep for one, (_, keep) in zip(ones, streams, strict=True)])
        hooks |= (
            {"at_levels": drop_levels(keep_BD)} if keep_at == "encoder" else {"at_features": drop_features(keep_BD)}
        )
    logits_BKHW = student(torch.cat([images for images, _ in streams]), **hooks)
    return list(logits_BKHW.split(sizes))
