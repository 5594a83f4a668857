from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from semiseg.data.prefetch import prefetch


@pytest.mark.parametrize("ahead", [1, 2, 8, 100])
def test_results_come_in_order_whatever_takes_longer(ahead: int) -> None:
    def slow_if_early(item: int) -> int:
        time.sleep(0.002 * (item % 3 == 0))
        return item * item

    assert list(prefetch(slow_if_early, range(30), ahead=ahead)) == [item * item for item in range(30)]


def test_nothing_comes_of_nothing() -> None:
    assert list(prefetch(str, [])) == []


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_items_are_taken_than_may_wait(ahead: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    results = prefetch(lambda item: item, items(), ahead=ahead)
    for index in range(10):
        assert next(results) == index
        assert len(taken) <= index + ahead
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 10 + ahead


def test_work_is_done_beside_the_caller() -> None:
    both = threading.Barrier(2, timeout=5)
    assert list(prefetch(lambda item: both.wait() >= 0 and item, range(4), ahead=4)) == [0, 1, 2, 3]


def test_an_error_comes_at_the_place_of_its_item() -> None:
    def fail_at_3(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = prefetch(fail_at_3, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
