"""The campaign: runs that are disturbed at drawn moments, held against one that is not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.kinds import KINDS, Kind
from benchmarks.faults.starts import STEPS, Run, Start
from numpy.random import Generator

from semiseg.data.scenes import write_scenes
from semiseg.seeding import rng

STRIDE = 9
"""The most steps between a fault and the next of the same run."""
DELAY = 0.05
"""The most seconds between a step and the fault: about one step."""


@dataclass
class Fault:
    """A fault that happened: its kind, the last step before it, the exit codes, and what was wrong with them."""

    kind: Kind
    step: int
    codes: list[int]
    complaint: str = ""
    repeated: int = 0


@dataclass
class Disturbed:
    """A disturbed run, in the end: `differs` names what is not bit-equal to the undisturbed run."""

    run: Run
    faults: list[Fault] = field(default_factory=list)
    lost: str = ""
    differs: list[str] = field(default_factory=list)


def campaign(kills: int, seed: int, folder: Path) -> Iterator[Disturbed]:
    """Disturb runs in an empty folder until so many faults have happened; yield each run when it has ended."""
    draws = rng(seed, "faults")
    data = folder / "scenes"
    write_scenes(data, labeled=4, unlabeled=6, val=2, size=64)
    undisturbed: dict[int, dict[str, object]] = {}
    number = 0
    while kills > 0:
        processes = 1 + (number % 4 == 3)
        if processes not in undisturbed:
            undisturbed[processes] = _undisturbed(Run(folder, f"undisturbed{processes}", data, processes))
        ended = _disturb(Run(folder, f"run{number}", data, processes), kills, draws, undisturbed[processes])
        kills -= len(ended.faults)
        number += 1
        yield ended


def _undisturbed(run: Run) -> dict[str, object]:
    start = run.start()
    if any(start.codes()):
        raise RuntimeError(f"the undisturbed run failed:\n{start.said()}")
    return run.end_state()


def _disturb(run: Run, kills: int, draws: Generator, expected: Mapping[str, object]) -> Disturbed:
    """Let at most `kills` faults happen to a run, then let it end."""
    found = Disturbed(run)
    kinds = [kind for kind in KINDS if run.processes in kind.processes]
    target = int(draws.integers(1, STRIDE + 1))
    while len(found.faults) < kills and target < STEPS - 1:
        kind = kinds[draws.integers(len(kinds))]
        start = run.start(kind.workers)
        if not start.wait_for(max(target, kind.after)):
            found.lost = f"it ended with {start.codes()} before the fault\n{start.said()}"
            return found
        _note_resume(found, start)
        found.faults.append(_strike(start, kind, draws))
        # Beyond what was seen: an evaluation that ends the process twice is left out, as it should be.
        target = run.step() + int(draws.integers(1, STRIDE + 1))
    start = run.start()
    if any(start.codes()):
        found.lost = f"it could not be continued: {start.codes()}\n{start.said()}"
        return found
    _note_resume(found, start)
    end_state = run.end_state()
    found.differs = [name for name, value in expected.items() if value != end_state[name]]
    return found


def _note_resume(found: Disturbed, start: Start) -> None:
    """Write down how many steps the last fault has cost."""
    if found.faults:
        found.faults[-1].repeated = max(0, found.faults[-1].step - start.resumed_after())


def _strike(start: Start, kind: Kind, draws: Generator) -> Fault:
    time.sleep(draws.uniform(0, DELAY))
    kind.strike(start, draws)
    codes = start.codes()
    fault = Fault(kind, start.run.step(), codes)
    said = start.said()
    wrong = [code for code in codes if code not in kind.ends]
    if wrong or (2 in codes and kind.says not in said):
        fault.complaint = f"{start.run.name}, step {fault.step}: {kind.name}: exit codes {codes}\n{said}"
    kind.damage(start.run.path, draws)
    return fault
