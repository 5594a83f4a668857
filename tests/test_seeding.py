from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from semiseg.seeding import counted, rng, torch_rng

KEYS = st.tuples(
    st.integers(0, 2**63),
    st.sampled_from(["geometry", "strong view", ""]),
    st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2),
)


def numbers(seed: int, purpose: str, counters: list[int]) -> list[int]:
    return [int(number) for number in rng(seed, purpose, *counters).integers(0, 2**63, 4)]


def torch_numbers(seed: int, purpose: str, counters: list[int]) -> list[int]:
    return [int(number) for number in torch.randint(0, 2**62, (4,), generator=torch_rng(seed, purpose, *counters))]


@given(KEYS, KEYS)
def test_equal_keys_draw_alike_and_other_keys_apart(
    one: tuple[int, str, list[int]], other: tuple[int, str, list[int]]
) -> None:
    for drawn in (numbers, torch_numbers):
        assert drawn(*one) == drawn(*one)
        if one != other:
            assert drawn(*one) != drawn(*other)


def test_counters_do_not_run_into_each_other() -> None:
    keys = [(1, 2), (2, 1), (12, 0), (0, 12), (0, 0), (1, 0), (0, 1), (2**32 - 1, 0), (0, 2**32 - 1)]
    assert len({tuple(numbers(0, "x", list(key))) for key in keys}) == len(keys)
    assert numbers(1, "x", [2]) != numbers(2, "x", [1])


def test_draws_are_independent_of_the_global_generators() -> None:
    before = (np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index]
    numbers(0, "x", [])
    torch_numbers(0, "x", [])
    assert np.random.get_state()[1].tolist() == before[0]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_neighbouring_counters_are_not_correlated() -> None:
    drawn = np.array([rng(0, "x", counter).random(2) for counter in range(4000)])
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.06
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.06


def test_the_numbers_stay_those_of_earlier_versions() -> None:
    # A change here changes every run: a resumed run would no longer continue as it began.
    assert rng(0, "geometry of labeled", 3, 14).integers(0, 1000, 5).tolist() == [282, 356, 387, 276, 855]
    assert torch.randint(0, 1000, (5,), generator=torch_rng(0, "dropout", 3)).tolist() == [231, 888, 136, 250, 283]


def test_global_generators_are_lent_to_a_purpose_and_come_back() -> None:
    state = torch.get_rng_state()
    with counted(0, "x", 3):
        first = torch.rand(4)
    torch.rand(3)
    with counted(0, "x", 3):
        again = torch.rand(4)
    with counted(0, "x", 4):
        other = torch.rand(4)
    torch.set_rng_state(state)
    with counted(0, "x", 3):
        pass
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
