"""Greedy choice of images that are new and stand for many others: density-weighted k-centers.

The rule of Density-K-Center (ECCV 2026): features of unit length, the distance of two images is one minus their cosine,
and each image weighs by how densely the pool lies around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from semiseg.seeding import rng

NEIGHBOURS = 20
"""The images nearest to one that tell how densely the pool lies there (as published)."""
WEIGHTS = (0.3, 1.0)
"""The least and the largest weight of an image (as published)."""
_ROWS = 2048  # images that are compared with all others at once
_EPSILON = 1e-12


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A chosen image.

    Attributes:
        index: in the pool.
        score: what it was chosen for: weight times distance, and with a model times uncertainty.
        distance: one minus the cosine to the nearest image that was labeled or chosen before; of a first pick to the
            mean of the pool.
        nearest: that image: its index among the labeled ones, or their number plus the place among the picks; None of
            a first pick.
    """

    index: int
    score: float
    distance: float
    nearest: int | None


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """How the images of a pool lie.

    Attributes:
        weights_N: of each image, from 0.3 in the thinnest to 1 in the densest places.
        nearest: mean cosine of an image to the nearest other one: how redundant the pool is.
        pairs: mean cosine of two images, whichever.
    """

    weights_N: Tensor
    nearest: float
    pairs: float


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How near the pool lies to the labeled and chosen images.

    Attributes:
        mean: mean cosine of an image to the nearest of them.
        least: cosine of the image that is farthest from all of them.
    """

    mean: float
    least: float


def neighbourhood(features_ND: Tensor) -> Neighbourhood:
    """Measure density and redundancy.

    Density is one over the mean squared distance to the 20 nearest neighbours, and a weight is density / (density +
    its median), clipped to 0.3 and 1 (as published).

    Args:
        features_ND: fp32, of unit length.
    """
    count = min(NEIGHBOURS, len(features_ND) - 1)
    if count < 1:
        return Neighbourhood(weights_N=torch.ones(len(features_ND)), nearest=0.0, pairs=0.0)
    cosines_NK = torch.cat([part.topk(count, dim=1).values for part in _cosines_to_others(features_ND)])
    squared_N = (2 - 2 * cosines_NK).clamp(min=0).mean(dim=1)
    median = squared_N.median() + _EPSILON  # density is one over it, and above 0 where all images are one
    weights_N = (median / (median + squared_N)).clamp(*WEIGHTS)
    number, total = len(features_ND), features_ND.sum(dim=0)
    pairs = (float(total @ total) - number) / (number * (number - 1))
    return Neighbourhood(weights_N=weights_N, nearest=float(cosines_NK[:, 0].mean()), pairs=pairs)


def _cosines_to_others(features_ND: Tensor) -> Iterator[Tensor]:
    """Yield cosines of some images to all, those to themselves below all others."""
    for start in range(0, len(features_ND), _ROWS):
        cosines_MN = features_ND[start : start + _ROWS] @ features_ND.T
        cosines_MN.diagonal(offset=start).fill_(-2)
        yield cosines_MN


def choose(features_ND: Tensor, values_N: Tensor, labeled_MD: Tensor, budget: int) -> list[Pick]:
    """Pick greedily the image of the largest value times distance to all that is labeled or picked.

    Where nothing is labeled the first pick is the image farthest from the mean (as published).

    Args:
        features_ND: of the pool, fp32, of unit length.
        values_N: what each image is worth, above 0: its weight, and with a model times its uncertainty.
        labeled_MD: features of the labeled images, perhaps none.
        budget: images wanted; fewer are picked from a smaller pool.
    """
    cosines_N, nearest_N = _nearest(features_ND, labeled_MD)
    waiting_N = torch.ones(len(features_ND), dtype=torch.bool)
    picks: list[Pick] = []
    for place in range(min(budget, len(features_ND))):
        is_first = place == 0 and not len(labeled_MD)
        distances_N = 1 - (features_ND @ _mean(features_ND) if is_first else cosines_N)
        scores_N = distances_N.clamp(min=0) * (1 if is_first else values_N)
        index = int(scores_N.masked_fill(~waiting_N, -1).argmax())
        found = float(scores_N[index]), float(distances_N[index])
        picks.append(
            Pick(index=index, score=found[0], distance=found[1], nearest=None if is_first else int(nearest_N[index]))
        )
        waiting_N[index] = False
        fresh_N = features_ND @ features_ND[index]
        nearest_N = torch.where(fresh_N > cosines_N, len(labeled_MD) + place, nearest_N)
        cosines_N = torch.maximum(cosines_N, fresh_N)
    return picks


def _nearest(features_ND: Tensor, labeled_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest cosine of each image to the labeled ones, and to which; far below all where there are none."""
    if not len(labeled_MD):
        return torch.full((len(features_ND),), -2.0), torch.zeros(len(features_ND), dtype=torch.long)
    found = [(part @ labeled_MD.T).max(dim=1) for part in features_ND.split(_ROWS)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def _mean(features_ND: Tensor) -> Tensor:
    mean_D = features_ND.mean(dim=0)
    unit_D: Tensor = mean_D / mean_D.norm().clamp(min=_EPSILON)
    return unit_D


def coverage(features_ND: Tensor, labeled_MD: Tensor, chosen: list[int]) -> Coverage:
    """Measure how near the pool lies to what is labeled or chosen."""
    cosines_N, _ = _nearest(features_ND, torch.cat([labeled_MD, features_ND[chosen]]))
    return Coverage(mean=float(cosines_N.mean()), least=float(cosines_N.min()))


def random_coverage(
    features_ND: Tensor, labeled_MD: Tensor, count: int, *, draws: int, seed: int
) -> tuple[Coverage, float]:
    """Measure the same for images drawn at random: the mean over draws, and the standard deviation of `mean`."""
    found = [
        coverage(
            features_ND, labeled_MD, rng(seed, "suggestion draw", draw).permutation(len(features_ND))[:count].tolist()
        )
        for draw in range(draws)
    ]
    means, leasts = (torch.tensor([getattr(each, name) for each in found]) for name in ("mean", "least"))
    return Coverage(mean=float(means.mean()), least=float(leasts.mean())), float(means.std(unbiased=True))
