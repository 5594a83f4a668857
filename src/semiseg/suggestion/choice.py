"""From a pool to the images to label next, with what tells why, and what random choice would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from semiseg.data import Sample
from semiseg.data.ticks import Tick, no_tick
from semiseg.errors import DataError
from semiseg.models import Encoder
from semiseg.prediction.frames import Picture
from semiseg.suggestion.choosing import (
    Coverage,
    Neighbourhood,
    Pick,
    choose,
    coverage,
    neighbourhood,
    random_coverage,
)
from semiseg.suggestion.features import Features, Look, encode
from semiseg.suggestion.kept_masks import KeptMasks
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
        masks: what the model is sure of in them, too.
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
    masks: KeptMasks
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
    threshold: float = 0.95,
    progress: Tick = no_tick,
) -> Choice:
    """Choose from a pool, each image of which is read once; see `suggest`.

    Args:
        pool: what there is.
        encoder: whose features are compared.
        models: whose doubt counts, if there are any.
        budget: number of images wanted.
        seed: of the random choices to compare with.
        max_pixels: the largest image that is opened.
        threshold: the confidence below which a pixel of a mask is left open.
        progress: called with the number of images looked at and of all.

    Raises:
        DataError: none of its images can be read.
    """
    total = len(pool.labeled) + len(pool.unlabeled)
    shown = models.predictor.shown if models else pool.spec.shown
    doubts: dict[str, Doubt] = {}
    masks = KeptMasks()
    progress(0, total)

    def ask_models(sample: Sample, pictures: Sequence[Picture]) -> None:
        assert models is not None
        seen, doubts[sample.id] = models.look(pictures)
        if shown.long_side is None:
            masks[sample.id] = seen.sure_of(threshold)

    def encoded(samples: Sequence[Sample], before: int, look: Look | None = None) -> Features:
        return encode(encoder, samples, shown, max_pixels, lambda done: progress(before + done, total), look)

    labeled = encoded(pool.labeled, 0)
    features = encoded(pool.unlabeled, len(pool.labeled), ask_models if models else None)
    if not features.samples:
        name, reason = next(iter(features.unreadable.items()))
        raise DataError(
            f"none of {len(pool.unlabeled):,} images can be read; the first: {reason}",
            where=name,
            remedy="check that these files are images",
        )
    choice = _choice(features, labeled, doubts, masks, budget, seed)
    if models and shown.long_side is not None:  # masks are of the size of the files, and what was seen is smaller
        for sample in choice.samples:
            masks[sample.id] = models.confident_mask(sample.frames, threshold, max_pixels)
    return choice


def _choice(
    features: Features, labeled: Features, doubts: Mapping[str, Doubt], masks: KeptMasks, budget: int, seed: int
) -> Choice:
    features_ND, samples = features.features_ND, features.samples
    labeled_MD = labeled.features_ND if labeled.samples else torch.empty(0, features_ND.shape[1])
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
        masks=masks,
        around=around,
        labeled=labeled.samples,
        images=len(samples),
        covered=coverage(features_ND, labeled_MD, indices),
        random=random,
        random_std=std,
        unreadable={**labeled.unreadable, **features.unreadable},
    )
