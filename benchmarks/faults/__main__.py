"""Disturb small trainings by a hundred faults; each must go on, and end bit-equal to one that was left alone.

    python -m benchmarks.faults --kills 100 [--seed N] [--json FILE]

Exit code 1 if a run was lost, ended other than it should, or has another end state. For Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a process with threads cannot be forked safely

from benchmarks.faults.campaign import Disturbed, campaign
from benchmarks.faults.kinds import KINDS


def main() -> int:
    """Run the campaign, print its table and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="how many faults")
    parser.add_argument("--seed", type=int, default=0, help="of the kinds and moments of the faults")
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    began, runs = time.monotonic(), list[Disturbed]()
    # In memory where that can be: processes are put to the test here, not how long a disk takes to flush.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for ended in campaign(options.kills, options.seed, Path(folder)):
            runs.append(ended)
            print(_line(ended), file=sys.stderr, flush=True)
    found = {"seed": options.seed, "seconds": round(time.monotonic() - began), **facts(runs)}
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if found["lost"] or found["differing"] or found["complaints"] else 0


def _line(ended: Disturbed) -> str:
    verdict = f"LOST: {ended.lost}" if ended.lost else f"DIFFERS in {ended.differs}" if ended.differs else "bit-equal"
    complaints = "".join(f"\n{fault.complaint}" for fault in ended.faults if fault.complaint)
    return f"{ended.run.name}: {ended.run.processes} processes, {len(ended.faults)} faults: {verdict}{complaints}"


def facts(runs: list[Disturbed]) -> dict[str, Any]:
    """Return the figures of a campaign, for JSON."""
    faults = [fault for run in runs for fault in run.faults]
    kinds = {}
    for kind in KINDS:
        mine = [fault for fault in faults if fault.kind is kind]
        codes = {code for fault in mine for code in fault.codes}
        kinds[kind.name] = {
            "faults": len(mine),
            "exit codes": sorted(codes),
            "complaints": sum(bool(fault.complaint) for fault in mine),
            "steps repeated": sum(fault.repeated for fault in mine),
        }
    return {
        "faults": len(faults),
        "runs": len(runs),
        "lost": sum(bool(run.lost) for run in runs),
        "differing": sum(bool(run.differs) for run in runs),
        "complaints": sum(bool(fault.complaint) for fault in faults),
        "steps repeated": sum(fault.repeated for fault in faults),
        "kinds": kinds,
    }


def table(found: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown, and the sum of them in a sentence."""
    lines = ["| fault | times | exit codes | ended otherwise | steps repeated |", "|---|--:|---|--:|--:|"]
    for name, row in found["kinds"].items():
        codes = ", ".join(map(str, row["exit codes"]))
        lines.append(f"| {name} | {row['faults']} | {codes} | {row['complaints']} | {row['steps repeated']} |")
    equal = found["runs"] - found["lost"] - found["differing"]
    return "\n".join(lines) + (
        f"\n\n{found['faults']} faults in {found['runs']} runs, {found['seconds']} s: {found['lost']} runs lost, "
        f"{equal} of {found['runs']} end states bit-equal, {found['steps repeated']} steps repeated"
    )


if __name__ == "__main__":
    sys.exit(main())
