from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.data import shuffle
from semiseg.data.shuffle import BLOCK, HELD, WINDOW, Permutation, Windows, shuffled

keys = st.tuples(*[st.integers(0, 2**64 - 1)] * 8)


@given(st.integers(1, 400), keys)
def test_a_permutation_is_one_of_any_size_and_keys(size: int, keys: tuple[int, ...]) -> None:
    order = Permutation(size, keys)
    assert sorted(order[place] for place in range(size)) == list(range(size))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), keys, st.integers(0, 10**6), st.data())
def test_windows_of_blocks_are_a_permutation_of_any_size(
    size: int, keys: tuple[int, ...], shift: int, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shuffle, "BLOCK", block := data.draw(st.integers(1, 9)))
        patch.setattr(shuffle, "WINDOW", data.draw(st.integers(1, 5)))
        order = Windows(
            size, Permutation(max(size // block, 1), keys) if size >= block else Permutation(1, keys), shift, keys
        )
        if size >= block:
            assert sorted(order[place] for place in range(size)) == list(range(size))


def test_a_short_order_is_that_of_numpy_as_ever() -> None:
    from semiseg.seeding import rng

    expected = rng(3, "order of unlabeled", 2).permutation(np.arange(10) % 7)
    found = shuffled(3, 2, "unlabeled", 7, 10)
    assert [found[place] for place in range(10)] == expected.tolist()


@pytest.mark.parametrize("near", [False, True])
def test_a_long_order_holds_every_item_about_equally_often_and_differs_by_epoch(near: bool) -> None:
    count, length = 50_000, HELD + 7000
    order, other = (shuffled(0, epoch, "labeled", count, length, near=near) for epoch in (0, 1))
    drawn = [order[place] for place in range(length)]
    assert set(Counter(drawn).values()) == {length // count, length // count + 1}
    assert sum(order[place] == other[place] for place in range(500)) < 10
    assert drawn == [shuffled(0, 0, "labeled", count, length, near=near)[place] for place in range(length)]


def test_a_long_order_looks_like_chance() -> None:
    size = 10**7
    order = shuffled(0, 0, "unlabeled", size, size)
    drawn = np.array([order[place] for place in range(4000)])
    counts = np.bincount(drawn * 20 // size, minlength=20)
    assert ((counts - 200) ** 2 / 200).sum() < 44, "chi square of 19 degrees of freedom, 1 in 1000"
    steps = np.bincount((drawn[1:] - drawn[:-1]) % size * 20 // size, minlength=20)
    assert ((steps - 200) ** 2 / 200).sum() < 44, "neighbours in the order lie anywhere"


def test_neighbours_are_read_near_to_each_other() -> None:
    size = 10**6
    order = shuffled(0, 0, "unlabeled", size, size, near=True)
    blocks = {(order[place] - order_shift(order)) % size // BLOCK for place in range(0, WINDOW * BLOCK, 16)}
    assert len(blocks) == WINDOW, "a window jumps in as many blocks and no more"


def order_shift(order: object) -> int:
    windows = order.order  # type: ignore[attr-defined]
    assert isinstance(windows, Windows)
    return windows.shift
