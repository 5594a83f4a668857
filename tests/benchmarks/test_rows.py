"""The table of test times is made of what pytest prints."""

from __future__ import annotations

from rows import table  # benchmarks/rows.py

LOG = """\
..                                                                       [100%]
============================= slowest durations ===============================
2.50s call     tests/reliability/test_r04_killed.py::test_r04_a_kill[0-a::b]
1.00s setup    tests/security/test_s05_archives.py::test_s05
0.25s teardown tests/reliability/test_r04_killed.py::test_r04_a_kill[1]
(3 durations < 0.005s hidden.  Use -vv to show these durations.)
=================== 5 passed, 1 skipped in 62.10s (0:01:02) ===================
"""


def test_seconds_are_added_up_for_each_file_and_folder() -> None:
    assert table(LOG).splitlines()[2:] == [
        "| tests/reliability/test_r04_killed.py | 2.8 |",
        "| tests/security/test_s05_archives.py | 1.0 |",
        "| all of tests/reliability | 2.8 |",
        "| all of tests/security | 1.0 |",
        "",
        "5 passed, 1 skipped in 62.10s (0:01:02)",
    ]
