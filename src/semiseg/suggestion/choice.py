"""From a pool to the images to label next, with what tells why, and what random choice would be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semiseg.data import Sample
from semiseg.data.ticks import Tick, no_tick
from semiseg.errors import DataError
from semiseg.models import Encoder
from semiseg.suggestion.choosing import (
    Coverage,
    Neighbourhood,
    Pick,
    choose,
    coverage,
    neighbourhood,
    random_coverage,
)
from semiseg.suggestion.features import Features, encode
from semiseg.suggestion.pool import Pool
from semiseg.suggestion.uncertainty import Doubt, Models

DRAWS = 20
"""Random choices that a choice is compared with."""
_UNSURE = 3
"""Classes that a reason names."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen, and how it compares.

    Attributes:
        samples: the chosen ones, the first first.
        picks: how each was chosen.
        doubts: of the model, by the id of a sample; empty without a model.
        around: how the pool lies.
        labeled: samples that counted as chosen before.
        images: number of images to choose from.
        covered: how near the pool lies to what is labeled and chosen.
        random: the same for random choices, the mean of `DRAWS`.
        random_std: standard deviation of their means.
        unreadable: why images could not be read, by their id.
    """

    samples: Sequence[Sample]
    picks: Sequence[Pick]
    doubts: Mapping[str, Doubt]
    around: Neighbourhood
    labeled: Sequence[Sample]
    images: int
    covered: Coverage
    random: Coverage
    random_std: float
    unreadable: Mapping[str, str]

    @property
    def rule(self) -> str:
        """What images were chosen by."""
        return "uncertainty" if self.doubts else "coverage"

    def reasons(self, place: int) -> list[str]:
        """Say why an image was chosen."""
        pick = self.picks[place]
        before = [*self.labeled, *self.samples]
        reasons = [
            "farthest from the mean of all images"
            if pick.nearest is None
            else f"distance {pick.distance:.3f} to the nearest labeled or chosen image, {before[pick.nearest].id}",
            f"stands for its neighbours with weight {float(self.around.weights_N[pick.index]):.2f} (0.30 to 1.00)",
        ]
        doubt = self.doubts.get(self.samples[place].id)
        if doubt is not None:
            unsure = sorted(doubt.classes.items(), key=lambda pair: -pair[1])[:_UNSURE]
            reasons.append("the model is unsure of " + ", ".join(f"{name} ({value:.2f})" for name, value in unsure))
            if doubt.disagreement is not None:
                reasons.append(f"student and teacher disagree on {doubt.disagreement:.1%} of the pixels")
        return reasons

    def lines(self) -> list[str]:
        """Say by which rule, why, and what random choice would be."""
        rules = {
            "coverage": "coverage: density-weighted k-centers on the encoder's features, as there is no model yet",
            "uncertainty": "uncertainty: what the model is unsure of, times density, times the distance to all that is "
            "labeled or chosen, so that near-duplicates are not taken",
        }
        gain = self.covered.mean - self.random.mean
        verdict = (
            "more than random choice covers"
            if gain > 2 * self.random_std
            else "about what random choice covers"
            if gain >= -2 * self.random_std
            else "less than random choice covers on the whole, for the sake of what it would miss"
        )
        return [
            f"rule {rules[self.rule]}",
            f"redundancy of {self.images:,} images: cosine {self.around.nearest:.3f} to the nearest other one, "
            f"{self.around.pairs:.3f} between any two",
            f"coverage (cosine of an image to the nearest labeled or chosen one): mean {self.covered.mean:.4f}, least "
            f"{self.covered.least:.3f}; random: mean {self.random.mean:.4f} ± {self.random_std:.4f}, least "
            f"{self.random.least:.3f} ({DRAWS} draws): {verdict}",
        ]


def choose_from(
    pool: Pool,
    encoder: Encoder,
    models: Models | None = None,
    *,
    budget: int,
    seed: int,
    max_pixels: int,
    progress: Tick = no_tick,
) -> Choice:
    """Choose from a pool; see `suggest`.

    Raises:
        DataError: none of its images can be read.
    """
    total = len(pool.labeled) + len(pool.unlabeled) * (2 if models else 1)
    progress(0, total)

    def seen(samples: Sequence[Sample], before: int) -> Features:
        return encode(encoder, samples, pool.spec.shown, max_pixels, lambda done: progress(before + done, total))

    labeled = seen(pool.labeled, 0)
    features = seen(pool.unlabeled, len(pool.labeled))
    if not features.samples:
        name, reason = next(iter(features.unreadable.items()))
        raise DataError(
            f"none of {len(pool.unlabeled):,} images can be read; the first: {reason}",
            where=name,
            remedy="check that these files are images",
        )
    labeled_MD = labeled.features_ND if labeled.samples else torch.empty(0, features.features_ND.shape[1])
    doubts = _doubts(
        models, features.samples, max_pixels, lambda done: progress(total - len(pool.unlabeled) + done, total)
    )
    return _choice(features, labeled.samples, labeled_MD, doubts, labeled.unreadable, budget, seed)


def _doubts(
    models: Models | None, samples: Sequence[Sample], max_pixels: int, tick: Callable[[int], object]
) -> dict[str, Doubt]:
    doubts = {}
    for done, sample in enumerate(samples if models else (), 1):
        assert models is not None
        doubts[sample.id] = models.doubt(sample, max_pixels)
        tick(done)
    return doubts


def _choice(
    features: Features,
    labeled: Sequence[Sample],
    labeled_MD: Tensor,
    doubts: Mapping[str, Doubt],
    unreadable: Mapping[str, str],
    budget: int,
    seed: int,
) -> Choice:
    features_ND, samples = features.features_ND, features.samples
    around = neighbourhood(features_ND)
    values_N = around.weights_N
    if doubts:
        values_N = values_N * torch.tensor([doubts[sample.id].score for sample in samples])
    picks = choose(features_ND, values_N, labeled_MD, budget)
    indices = [pick.index for pick in picks]
    random, std = random_coverage(features_ND, labeled_MD, len(picks), draws=DRAWS, seed=seed)
    return Choice(
        samples=[samples[index] for index in indices],
        picks=picks,
        doubts={samples[index].id: doubts[samples[index].id] for index in indices} if doubts else {},
        around=around,
        labeled=labeled,
        images=len(samples),
        covered=coverage(features_ND, labeled_MD, indices),
        random=random,
        random_std=std,
        unreadable={**unreadable, **features.unreadable},
    )
