from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import torch.distributed as dist

from semiseg.engine.rounds import Store, own_round

TIMEOUT = timedelta(seconds=20)


@pytest.fixture
def kept() -> dist.TCPStore:
    """Return a launcher's store."""
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def start(kept: dist.TCPStore, count: int) -> list[Store]:
    """Return the store that each process of one start finds; the processes are threads."""
    found: dict[int, Store] = {}

    def meet(rank: int) -> None:
        found[rank] = own_round(dist.TCPStore("127.0.0.1", kept.port), rank, count, TIMEOUT)

    threads = [threading.Thread(target=meet, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[rank] for rank in range(count)]


@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 2, 3), (1, 4)])
def test_each_start_has_a_store_of_its_own_that_all_its_processes_share(
    kept: dist.TCPStore, counts: tuple[int, ...]
) -> None:
    for number, count in enumerate(counts):
        stores = start(kept, count)
        assert not any(store.check(["address"]) for store in stores), "of an earlier start"
        stores[-1].set("address", str(number))
        assert [store.get("address").decode() for store in stores] == [str(number)] * count


def test_a_main_process_that_is_early_waits_for_the_others_of_its_start(kept: dist.TCPStore) -> None:
    start(kept, 2)
    found: list[Store] = []
    main = threading.Thread(target=lambda: found.append(own_round(kept, 0, 2, TIMEOUT)))
    main.start()
    main.join(timeout=0.5)
    assert main.is_alive(), "it met the process of an earlier start"
    other = own_round(dist.TCPStore("127.0.0.1", kept.port), 1, 2, TIMEOUT)
    main.join()
    other.set("address", "here")
    assert found[0].get("address") == b"here"


def test_who_meets_nobody_gives_up(kept: dist.TCPStore) -> None:
    with pytest.raises(TimeoutError, match="process 1 of 2 has met no other one in 0 s"):
        own_round(kept, 1, 2, timedelta(seconds=0.2))
