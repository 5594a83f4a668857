"""Shuffled orders as functions of a seed and counters: held in memory while short, computed when long.

A long order costs a process no memory, whatever its length, and each of its places is found without those before it. So
a run of millions of images resumes anywhere, and any number of workers and processes see the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Protocol

import numpy as np

from semiseg.seeding import rng

HELD = 2**17
"""Longest order that is held in memory, 1 MB: longer than those of the published data sets."""

BLOCK, WINDOW = 256, 64
"""Neighbours that stay together where reading in order matters, and how many blocks of them are mixed: at 100 kB an
image, 25 MB read in order and 1.6 GB in which a shuffle jumps."""

_ROUNDS = 8
_64_BITS = 2**64 - 1


class Order(Protocol):
    """Which item stands at each place."""

    def __getitem__(self, place: int, /) -> int:
        """Return the item of a place."""


@dataclass(frozen=True)
class Permutation:
    """A permutation of `0 .. size - 1` that is computed: the generalized Feistel cipher.

    Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains (CT-RSA 2002), section 5, with cycle walking.

    Attributes:
        size: how many numbers it permutes, at least 1.
        keys: a number of 64 bits for each of its rounds, which are even in number.
    """

    size: int
    keys: tuple[int, ...]

    def __getitem__(self, place: int) -> int:
        """Return the number at a place."""
        if not 0 <= place < self.size:
            raise IndexError(place)
        low = isqrt(self.size - 1) + 1
        high = -(-self.size // low)
        while True:  # until it is one of `size`, of the few more numbers that the cipher permutes
            right, left = divmod(place, low)
            for key in self.keys:
                left, right = right, (left + _mixed(right ^ key)) % low
                low, high = high, low
            place = low * right + left
            if place < self.size:
                return place


@dataclass(frozen=True)
class Windows:
    """A shuffle of which neighbours stay near: blocks in permuted order, and permutations inside windows of blocks.

    Attributes:
        size: how many numbers it permutes.
        blocks: order of the whole blocks.
        shift: where the first block begins, so that what is in no whole block, and comes last, is not always the same.
        keys: as of `Permutation`.
    """

    size: int
    blocks: Permutation
    shift: int
    keys: tuple[int, ...]

    def __getitem__(self, place: int) -> int:
        """Return the number at a place."""
        window, inside = divmod(place, WINDOW * BLOCK)
        first = window * WINDOW
        length = min(WINDOW, self.blocks.size - first) * BLOCK
        if inside < length:
            keys = tuple(_mixed(key ^ window) for key in self.keys)
            block, offset = divmod(Permutation(length, keys)[inside], BLOCK)
            place = self.blocks[first + block] * BLOCK + offset
        return (place + self.shift) % self.size


@dataclass(frozen=True)
class _Repeated:
    """An order of a list that is repeated."""

    order: Order
    count: int

    def __getitem__(self, place: int) -> int:
        return self.order[place] % self.count


@lru_cache(maxsize=8)
def shuffled(seed: int, epoch: int, purpose: str, count: int, length: int, *, near: bool = False) -> Order:
    """Return which of `count` items stands at each place of an epoch: the list repeated to `length` places, shuffled.

    Args:
        seed: the run's seed.
        epoch: number of the epoch.
        purpose: what is ordered; two purposes have different orders.
        count: how many items there are.
        length: places that are wanted; there are at least as many as items.
        near: whether neighbours are kept near to each other, as they are read from one file.
    """
    places = max(count, length)
    draws = rng(seed, f"order of {purpose}", epoch)
    if places <= HELD:
        order: Order = draws.permutation(np.arange(places, dtype=np.int64) % count)
        return order
    keys = tuple(int(key) for key in draws.integers(_64_BITS, size=2 * _ROUNDS, dtype=np.uint64, endpoint=True))
    if not near:
        return _Repeated(Permutation(places, keys[:_ROUNDS]), count)
    blocks = Permutation(places // BLOCK, keys[:_ROUNDS])
    return _Repeated(Windows(places, blocks, int(draws.integers(places)), keys[_ROUNDS:]), count)


def _mixed(number: int) -> int:
    """Return 64 bits that look like chance: the finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    number = (number + 0x9E3779B97F4A7C15) & _64_BITS
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return number ^ (number >> 31)
