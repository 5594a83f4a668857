"""Measure how fast training, loading, evaluation and start-up are, beside a plain rendering of the published way.

    python -m benchmarks.speed [--data CAMVID] [--only ROW ...] [--quick] [--json FILE]
    python -m benchmarks.speed profile RECIPE [--key value ...]

Both sides of a row alternate in one run. `docs/performance.md` tells how to read the table.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.program import run_program
from benchmarks.speed import profiling
from benchmarks.speed.ground import Ground, shared_camvid
from benchmarks.speed.machine import this_machine
from benchmarks.speed.row import Bench, Row
from benchmarks.speed.rows import BENCHES
from benchmarks.speed.table import markdown

from semiseg.errors import ConfigError
from semiseg.files import write_text


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is asked for, print the tables and return the exit code: 1 if a row failed."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["profile"]:
        return profiling.main(words[1:])
    options = _parser().parse_args(words)
    machine = this_machine(options.device, quick=options.quick)
    chosen = choose(BENCHES, options.only)
    facts = {"command": f"python -m benchmarks.speed {shlex.join(words)}".strip(), **machine.facts()}
    rows = list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(
            machine=machine,
            folder=Path(folder),
            data=options.data.absolute() if options.data else shared_camvid(),
            rounds=options.rounds or (1 if options.quick else 3),
            budget=options.budget or (0.05 if options.quick else 2.0 if machine.has_gpu else 1.5),
            precision=options.precision,
            traces=options.traces,
        )
        try:
            for bench in chosen:
                for row in _measured(bench, ground, named=bench.name in options.only):
                    rows.append(row)
                    if options.json:
                        found = {"facts": facts, "rows": [each.as_json() for each in rows]}
                        write_text(options.json, json.dumps(found, indent=1))
        except KeyboardInterrupt:  # what was found until then is kept
            begun = [row.name for row in rows]
            left = [bench.name for bench in chosen if not any(_begins(name, bench.name) for name in begun)]
            rows += [Row(name=name, missing="interrupted") for name in left]
    missing = sum(bool(row.missing) for row in rows)
    print(f"{markdown(rows, facts)}\n\n{len(rows) - missing} rows measured, {missing} not")
    return int(any(row.missing.startswith(("failed", "interrupted")) for row in rows))


def choose(benches: Sequence[Bench], only: Sequence[str]) -> list[Bench]:
    """Return the benches whose names begin with one of the words, part by part, in the order of the words; else all.

    Raises:
        ConfigError: a word names none.
    """
    if not only:
        return list(benches)
    chosen = {bench.name: bench for word in only for bench in benches if _begins(bench.name, word)}
    unknown = [word for word in only if not any(_begins(bench.name, word) for bench in benches)]
    if unknown:
        raise ConfigError(
            f"no row begins with {', '.join(unknown)}",
            where="--only",
            expected=", ".join(bench.name for bench in benches),
            remedy="name one of these, or their first parts",
        )
    return list(chosen.values())


def _begins(name: str, word: str) -> bool:
    return f"{name}/".startswith(f"{word.strip('/')}/")


def _measured(bench: Bench, ground: Ground, *, named: bool) -> Iterator[Row]:
    """Yield the rows of a bench; what fails is said in its place, and the others go on."""
    why = bench.impossible(ground.machine) or ("" if named else bench.left_out(ground.machine))
    if why:
        yield Row(name=bench.name, missing=why)
        return
    began = time.monotonic()
    print(f"{bench.name} ...", file=sys.stderr, end="", flush=True)
    try:
        yield from bench.measure(ground)
    except Exception as error:  # one row that cannot be measured must not cost the others
        yield Row(name=bench.name, missing=f"failed: {type(error).__name__}: {str(error).splitlines()[0]}")
    print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data",
        type=Path,
        metavar="CAMVID",
        help="default: camvid/ in the folder of shared data, see CONTRIBUTING.md; without it, drawn scenes",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="ROW",
        help="first parts of names, as step/vit_nano; a whole name also does what is left out by default",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and one round: a rehearsal, no measurement")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each side; default 3")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds of a turn; default 1.5, on a GPU 2")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of our side")
    parser.add_argument("--device", default="auto", help="default: the first GPU, else the CPU")
    parser.add_argument("--traces", type=Path, metavar="FOLDER", help="write a trace of three steps of each step row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    return parser


if __name__ == "__main__":
    run_program(main)
