"""Millions of unlabeled images, simulated: how long a start takes, what a process holds, how fast samples are drawn.

    python -m benchmarks.scale --images 10000000
    python -m benchmarks.scale --files 100000

The first writes an index of images that are nowhere, in 1,000 folders that are there, and starts a run on it as
`semiseg train` does: the index is opened, hashed and held against its folders (a sample of its files is not, as there
are none), labeled images are checked, the run keeps its lists, and a resume reads them. Memory is what a process holds
beyond one that has imported the same and opened nothing, after it has touched every page of the index: USS is its own,
PSS its share of what several share. Seconds of a core are what a machine without other work takes; draws are counted by
them. The second makes real files (links to one JPEG) and starts on them without an index, with a new one, and with one
that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semiseg.augment import StrongViewConfig
from semiseg.data import DataConfig, Division, TrainStream, indexing, open_data
from semiseg.data.index import Contents, Place, index_of, schema
from semiseg.data.indexing import index_settings, write_index
from semiseg.data.scenes import write_scenes
from semiseg.data.shuffle import shuffled
from semiseg.data.spec import read_spec

_FOLDERS = 1000
_PIECE = 2**20
_PROCESSES = (1, 3)
_TIMES = (("start", "busy"), ("resume", "resume_busy"))
_LINKS = 10_000
"""Names of each real file; file systems allow some ten thousand."""


def main() -> None:
    """Run the simulation, or one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=0, help="entries of the simulated index")
    parser.add_argument("--files", type=int, default=0, help="real files to start on")
    parser.add_argument("--draws", type=int, default=20_000, help="samples to draw, to measure how fast that is")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--process", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.process:
        _process(asked.process, asked.draws)
        return
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if asked.images:
            figures["simulated"] = _simulated(Path(folder) / "simulated", asked.images, asked.draws)
        if asked.files:
            figures["real"] = _real(Path(folder) / "real", asked.files)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


def _simulated(folder: Path, images: int, draws: int) -> list[dict[str, Any]]:
    config = _settings(folder)
    began = time.perf_counter()
    _write(config, images)
    size = os.path.getsize(config.index or "")
    print(f"{images:,} images: an index of {size / 1e6:,.0f} MB, {size / images:.0f} bytes an image")
    print(f"written in {time.perf_counter() - began:.1f} s")
    print("| processes | start s (of a core) | lists kept s | resume s (of a core) | USS, PSS bytes/image | draws/s |")
    figures = []
    for count in _PROCESSES:
        found = _measured(folder, count, draws)
        mean = {name: sum(one[name] for one in found) / count for name in found[0]}
        figures.append({"images": images, "processes": count, **mean})
        start, resume = (f"{mean[what]:.1f} ({mean[busy]:.1f})" for what, busy in _TIMES)
        memory = f"{mean['uss'] / images:.1f}, {mean['pss'] / images:.1f}"
        print(f"| {count} | {start} | {mean['keep']:.1f} | {resume} | {memory} | {mean['draws']:,.0f} |")
    return figures


def _settings(folder: Path) -> DataConfig:
    """Return a small data set and, to be made, a pool of images with an index."""
    if not folder.exists():
        write_scenes(folder / "scenes", labeled=8, unlabeled=1, val=4, size=64)
    return DataConfig(root=str(folder / "scenes"), unlabeled=str(folder / "pool"), index=str(folder / "pool.arrow"))


def _write(config: DataConfig, images: int) -> None:
    """Write an index of images that are nowhere, in folders that are there."""
    pool, count = Path(str(config.unlabeled)), min(_FOLDERS, images)
    ends = [images * (number + 1) // count for number in range(count)]
    names = [f"{number:04d}" for number in range(count)]
    for name in names:
        (pool / name).mkdir(parents=True)
        os.utime(pool / name, (1e9, 1e9))
    os.utime(pool, (1e9, 1e9))
    real = os.path.realpath(pool)
    places = [Place(source=0, name="", real=real, stamp=10**18, folders=tuple(names))]
    for name, start, end in zip(names, [0, *ends], ends, strict=False):
        places.append(Place(source=0, name=name, real=f"{real}/{name}", stamp=10**18, rows=end - start))
    settings = index_settings(config, read_spec(Path(config.root or "") / "dataset.yaml"))
    contents = Contents(settings=settings, sources=(str(pool),), places=())
    write_index(Path(config.index or ""), contents, _rows(images), places)


def _rows(images: int) -> Iterator[Any]:
    """Yield rows with names of 20 letters, as of many a data set."""
    import pyarrow as pa

    draws = np.random.default_rng(0)
    for start in range(0, images, _PIECE):
        count = min(_PIECE, images - start)
        numbers = {"size": draws.integers(50_000, 200_000, count), "changed_ns": draws.integers(10**18, size=count)}
        sides = {"width": np.full(count, 500), "height": np.full(count, 375)}
        keys = {"key": draws.integers(2**63, size=count)}
        names = [f"sa_{number:013d}.jpg" for number in range(start, start + count)]
        yield pa.table({"name": names, **numbers, **keys, **sides}).cast(schema())


def _measured(folder: Path, count: int, draws: int) -> list[dict[str, float]]:
    """Start processes, and let each measure once all have touched everything."""
    command = [sys.executable, "-m", "benchmarks.scale", "--process", str(folder), "--draws", str(draws)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]

    def tell_all() -> list[str]:
        lines = []
        for process in running:
            assert process.stdout is not None
            lines.append(process.stdout.readline())
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return lines

    for _ in range(3):  # before the start, before and after memory is looked at
        tell_all()
    return [json.loads(process.communicate()[0]) for process in running]


def _process(folder: Path, draws: int) -> None:
    import pyarrow as pa

    config, run = _settings(folder), folder / f"run-{os.getpid()}"
    vars(indexing)["SAMPLED"] = 0
    _ready()
    before = _memory()
    began, busy = time.perf_counter(), time.process_time()
    data = open_data(config, run, resumed=False, unlabeled=True)
    stream = TrainStream(
        data.dataset, config, Division(labeled=4, unlabeled=4), strong=StrongViewConfig(), views=2, seed=0
    )
    started, worked = time.perf_counter(), time.process_time()
    data.keep()
    kept = time.perf_counter()
    samples = data.dataset.unlabeled
    order = shuffled(0, 0, "unlabeled", len(samples), stream.steps_per_epoch * 4)
    drawing = time.process_time()
    for place in range(draws):
        samples[order[place]]
    drawn = time.process_time()
    index = index_of(samples)
    assert index is not None
    for column in index.table.columns:
        for buffer in (buffer for chunk in column.chunks for buffer in chunk.buffers() if buffer):
            np.frombuffer(buffer, dtype=np.uint8)[::1024].sum()
    pa.default_memory_pool().release_unused()
    _ready()
    held = _memory()
    _ready()
    figures = {"start": started - began, "busy": worked - busy, "keep": kept - started}
    figures |= {"draws": draws / (drawn - drawing), **{name: held[name] - before[name] for name in before}}
    resuming, busy = time.perf_counter(), time.process_time()
    open_data(config, run, resumed=True, unlabeled=True)
    figures |= {"resume": time.perf_counter() - resuming, "resume_busy": time.process_time() - busy}
    print(json.dumps(figures), flush=True)


def _ready() -> None:
    """Say that this process is ready for what follows, and wait until the others are."""
    print("ready", flush=True)
    sys.stdin.readline()


def _memory() -> dict[str, int]:
    """Return what this process holds, in bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return {"uss": sizes["Private_Clean"] + sizes["Private_Dirty"], "pss": sizes["Pss"]}


def _real(folder: Path, files: int) -> dict[str, float]:
    config = _settings(folder)
    pool = Path(str(config.unlabeled))
    pool.mkdir()
    picture = Image.effect_noise((500, 375), 50).convert("RGB")
    for number in range(files):
        part = pool / f"{number // _LINKS:04d}"
        if number % _LINKS == 0:
            part.mkdir()
            picture.save(part / "first.jpg")
        else:
            os.link(part / "first.jpg", part / f"{number:012d}.jpg")
    for parent, _, _ in os.walk(pool):
        os.utime(parent, (1e9, 1e9))
    figures = {}
    for what, index in (("without an index", None), ("the index is made", config.index), ("it is there", config.index)):
        began = time.perf_counter()
        plain = DataConfig(root=config.root, unlabeled=config.unlabeled, index=index)
        open_data(plain, folder / "run", resumed=False, unlabeled=True)
        figures[what] = time.perf_counter() - began
        print(f"{files:,} files, {what}: {figures[what]:.1f} s to start")
    return figures


if __name__ == "__main__":
    main()
