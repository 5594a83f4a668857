"""What is chosen is new and stands for many; density, redundancy and coverage are what their formulas say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semiseg.suggestion.choosing import choose, coverage, neighbourhood, random_coverage


def crowd(seed: int = 0, count: int = 60, width: int = 8) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def clusters(*sizes: int) -> Tensor:
    """Return groups of near-duplicates around different axes."""
    axes = torch.eye(len(sizes))
    noise = 0.01 * crowd(1, sum(sizes), len(sizes))
    return F.normalize(torch.cat([axes[[place] * size] for place, size in enumerate(sizes)]) + noise, dim=1)


def test_density_is_one_over_the_mean_squared_distance_to_twenty_neighbours() -> None:
    features_ND = crowd().double()
    squared_NN = torch.cdist(features_ND, features_ND).square().fill_diagonal_(torch.inf)
    density_N = 1 / squared_NN.sort(dim=1).values[:, :20].mean(dim=1)
    low = 1 / (1 / density_N).median()
    wanted_N = (density_N / (density_N + low)).clamp(0.3, 1)
    found = neighbourhood(features_ND.float())
    torch.testing.assert_close(found.weights_N.double(), wanted_N, rtol=1e-4, atol=1e-5)
    assert found.nearest == pytest.approx(float(1 - squared_NN.amin(dim=1).mean() / 2), abs=1e-5)
    others = ~torch.eye(len(features_ND), dtype=torch.bool)
    assert found.pairs == pytest.approx(float((features_ND @ features_ND.T)[others].mean()), abs=1e-5)


def test_a_pool_of_one_picture_many_times_has_the_largest_weights_and_is_all_redundant() -> None:
    found = neighbourhood(crowd(count=1).repeat(30, 1))
    assert found.nearest == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(found.weights_N).all()
    assert neighbourhood(crowd(count=1)).weights_N.tolist() == [1]


def test_every_group_is_taken_once_before_any_near_duplicate() -> None:
    features_ND = clusters(30, 3, 10, 3)
    picks = choose(features_ND, neighbourhood(features_ND).weights_N, torch.empty(0, 4), 4)
    assert sorted(int(features_ND[pick.index].argmax()) for pick in picks) == [0, 1, 2, 3]
    assert picks[0].nearest is None
    assert [pick.score for pick in picks[1:]] == sorted((pick.score for pick in picks[1:]), reverse=True)


def test_what_is_labeled_counts_as_chosen() -> None:
    features_ND = clusters(5, 5, 5)
    labeled_MD = features_ND[[0, 5]]
    (pick,) = choose(features_ND, torch.ones(15), labeled_MD, 1)
    assert int(features_ND[pick.index].argmax()) == 2
    assert pick.nearest in (0, 1)
    assert pick.distance == pytest.approx(1 - float((labeled_MD @ features_ND[pick.index]).max()), abs=1e-6)


def test_of_equally_far_images_the_one_of_the_larger_value_is_taken() -> None:
    features_ND = torch.eye(4)
    values_N = torch.tensor([1.0, 0.3, 0.9, 0.5])
    picks = choose(features_ND, values_N, features_ND[:1], 3)
    assert [pick.index for pick in picks] == [2, 3, 1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(1, 40), labeled=st.integers(0, 5), budget=st.integers(1, 60))
def test_no_image_is_taken_twice_and_none_is_left_while_there_is_budget(
    seed: int, count: int, labeled: int, budget: int
) -> None:
    features_ND = crowd(seed, count).repeat(2, 1)  # every image twice
    picks = choose(features_ND, neighbourhood(features_ND).weights_N, crowd(seed + 1, labeled), budget)
    assert len({pick.index for pick in picks}) == len(picks) == min(budget, 2 * count)


def test_coverage_is_the_cosine_to_the_nearest_labeled_or_chosen_image() -> None:
    features_ND = torch.eye(4)
    found = coverage(features_ND, features_ND[:1], [2])
    assert (found.mean, found.least) == (0.5, 0.0)


def test_choosing_covers_groups_that_random_draws_miss() -> None:
    features_ND = clusters(60, 2, 2, 2)
    picks = choose(features_ND, neighbourhood(features_ND).weights_N, torch.empty(0, 4), 4)
    ours = coverage(features_ND, torch.empty(0, 4), [pick.index for pick in picks])
    random, std = random_coverage(features_ND, torch.empty(0, 4), 4, draws=20, seed=0)
    assert ours.mean > random.mean + std
    assert ours.least > 0.9 > random.least
    again, _ = random_coverage(features_ND, torch.empty(0, 4), 4, draws=20, seed=0)
    assert again == random
