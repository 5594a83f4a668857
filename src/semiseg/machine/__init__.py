"""What this machine can do, and what stands in the way: the first thing to look at when something does not run."""

from __future__ import annotations

from collections.abc import Iterator

from semiseg.machine.check import Check, Verdict
from semiseg.machine.hardware import check_cores, check_devices, check_memory, check_precision
from semiseg.machine.network import check_host_name, check_hub, check_port
from semiseg.machine.software import check_libraries, check_platform, check_results
from semiseg.machine.storage import check_cache, check_disk, check_handles, check_shared_memory

__all__ = ["Check", "Verdict", "doctor"]


def doctor() -> list[Check]:
    """Look at libraries, devices, memory, disks and the network; takes seconds, and writes nothing.

    Returns:
        What was looked at, each with what to do about it if it is not good.
    """
    return list(_checks())


def _checks() -> Iterator[Check]:
    yield check_platform()
    yield from check_libraries()
    yield from check_devices()
    yield check_precision()
    yield from check_results()
    yield check_cores()
    yield check_memory()
    yield check_disk()
    yield check_cache()
    yield check_shared_memory()
    yield check_handles()
    yield check_port()
    yield check_host_name()
    yield check_hub()
