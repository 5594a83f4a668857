"""Feature dropout by channels: of UniMatch V2 (section 3.3) with its published variants, and of UniMatch V1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from semiseg.data import Place
from semiseg.models import FeatureHook, LevelHook
from semiseg.seeding import torch_rng


def channel_masks(
    kind: Literal["complementary", "random", "none"], place: Place, width: int, views: int, device: torch.device
) -> list[Tensor] | list[None]:
    """Draw the channel multipliers of each view: `views` tensors keep_BD of 0, 1 or 2, or None for no dropout.

    For each image, m in {0, 1}^D is Bernoulli(0.5). Complementary: view 1 keeps 2 m, view 2 keeps 2 (1 - m).
    Random: each view has a draw of its own. A random half of the images, floor(B / 2), is left undropped in all views.
    The draw is of the global batch, so that it does not depend on how the batch is divided.

    Args:
        kind: which dropout.
        place: which samples of which step.
        width: D, the number of channels: of the widest level where they differ, the others take the first ones.
        views: how many views; complementary needs 2.
        device: where the multipliers are needed.
    """
    if kind == "none":
        return [None] * views
    generator = torch_rng(place.seed, "channel dropout", place.step)
    draws = 1 if kind == "complementary" else views
    first = 2 * torch.randint(0, 2, (draws, place.batch, width), generator=generator).float()
    masks = torch.cat((first, 2 - first)) if kind == "complementary" else first
    undropped = torch.randperm(place.batch, generator=generator)[: place.batch // 2]
    masks[:, undropped] = 1.0
    return list(masks[:, place.positions_B].to(device, non_blocking=True))


def drop_levels(keep_BD: Tensor) -> LevelHook:
    """Return what multiplies the same channels of all four levels: keep_BD is as wide as the widest level.

    A narrower level takes the first channels (UniMatch V2, section 3.3).
    """

    def drop(levels: list[Tensor]) -> list[Tensor]:
        return [level * keep_BD[:, : level.shape[1], None, None].to(level.dtype) for level in levels]

    return drop


def drop_features(keep_BF: Tensor) -> FeatureHook:
    """Return what multiplies the channels of the features before the classifier (UniMatch V2, table 12)."""
    return lambda features_BFHW: features_BFHW * keep_BF[:, :, None, None].to(features_BFHW.dtype)


def with_dropped_copy(place: Place) -> LevelHook:
    """Return what doubles the batch: first as it is, then a copy whose channels are dropped with probability 0.5.

    What is kept is doubled. Each image and each level has draws of its own (UniMatch V1, section 3.2; there by
    `Dropout2d`). They are draws of the global batch, so that they do not depend on how it is divided.

    Args:
        place: which samples of which step. The batch is one labeled image for each of them, then the unlabeled ones.
    """

    def double(levels: list[Tensor]) -> list[Tensor]:
        return [torch.cat((level, level * keep(level, index))) for index, level in enumerate(levels)]

    def keep(level_BDHW: Tensor, index: int) -> Tensor:
        generator = torch_rng(place.seed, "feature perturbation", place.step, index)
        keep_2BD = 2 * torch.randint(0, 2, (2, place.batch, level_BDHW.shape[1]), generator=generator)
        chosen_BD = keep_2BD[:, place.positions_B].flatten(0, 1)
        return chosen_BD[:, :, None, None].to(level_BDHW, non_blocking=True)

    return double
