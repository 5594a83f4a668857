"""Time the tests of each row of docs/reliability.md and SECURITY.md.

    python benchmarks/rows.py [LOG]

Runs `tests/reliability` and `tests/security` as continuous integration does, two tests at a time, and prints the
seconds of each file: of its tests and what they set up, added up as if they ran one after the other. A LOG is what
pytest printed with `--durations=0`; it is read instead of running anything. Exit code: pytest's.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("tests/reliability", "tests/security")
COMMAND = ("-m", "pytest", *FOLDERS, "-q", "-n", "2", "--dist", "worksteal", "--durations=0")
DURATION = re.compile(r"(?P<seconds>[\d.]+)s +(?:setup|call|teardown) +(?P<file>[^ :]+)::")


def seconds_of_files(log: str) -> dict[str, float]:
    """Return the seconds of each test file in what pytest printed with `--durations=0`."""
    found: dict[str, float] = {}
    for line in log.splitlines():
        if match := DURATION.match(line):
            found[match["file"]] = found.get(match["file"], 0.0) + float(match["seconds"])
    return found


def table(log: str) -> str:
    """Return a table of the files, the sum of each folder, and pytest's last line."""
    found = seconds_of_files(log)
    sums = {folder: sum(value for file, value in found.items() if file.startswith(folder)) for folder in FOLDERS}
    rows = [*sorted(found.items()), *((f"all of {folder}", value) for folder, value in sums.items())]
    last = next((line for line in reversed(log.splitlines()) if re.search(r"(passed|failed).* in [\d.]+s", line)), "")
    lines = ["| test file | seconds |", "|---|--:|", *(f"| {name} | {value:.1f} |" for name, value in rows)]
    return "\n".join([*lines, "", last.strip("= ")])


def main() -> int:
    """Run the tests, or read what they printed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", nargs="?", type=Path, metavar="LOG", help="what pytest printed with --durations=0")
    log = parser.parse_args().log
    if log is not None:
        print(table(log.read_text()))
        return 0
    done = subprocess.run([sys.executable, *COMMAND], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    print(table(done.stdout) if done.returncode == 0 else done.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
