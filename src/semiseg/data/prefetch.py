"""Read ahead in threads: decoding releases the interpreter's lock, so files are ready when they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = 8, threads: int = 4
) -> Iterator[Result]:
    """Yield `function(item)` in order, at most `ahead` results in memory at once.

    Args:
        function: what to do with each item, in a thread.
        items: the items.
        ahead: how many are computed before they are asked for.
        threads: how many are computed at once.
    """
    with ThreadPoolExecutor(max_workers=threads) as pool:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
