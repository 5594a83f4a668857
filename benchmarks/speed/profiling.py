"""Where the time of a step goes, by kind of work, for any recipe.

    python -m benchmarks.speed profile RECIPE [--key value ...] [--plain] [--steps N] [--trace FILE]

The kinds are told from the names of torch's operators and from the functions that they are called in. Times are of a
GPU's kernels, else of the operators on the CPU. Weights are random, which takes the same time. Where no data are named,
CamVid is taken if it lies in the folder of shared data, else scenes are drawn.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from itertools import cycle
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import torch
from benchmarks.speed.clock import seconds_of
from benchmarks.speed.ground import Ground, opened, shared_camvid
from benchmarks.speed.machine import this_machine
from benchmarks.speed.training import Ours, Plain, in_memory
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from semiseg.api import recipe_config
from semiseg.config import Config

_MARK = "semiseg: "
FUNCTIONS = {
    "semiseg.methods.consistency.apply_photometric": "photometry",
    "benchmarks.speed.plain.step.apply_photometric": "photometry",
    "semiseg.methods.consistency.cutmix": "CutMix",
    "benchmarks.speed.plain.step.PlainTraining._mixed": "CutMix",
    "semiseg.methods.base.opinion": "pseudo-labels",
    "semiseg.methods.consistency.loss_sum": "loss",
    "semiseg.methods.losses.loss_sum": "loss",
    "semiseg.engine.training.update_teacher": "EMA",
    "benchmarks.speed.plain.step.PlainTraining._after": "EMA",
    "semiseg.engine.guard.Guard.judge": "gradient check",
}
"""Functions whose operators, whatever they are, are one kind of work."""
RECORDED = {"Optimizer.": "optimizer", "Torch-Compiled Region": "compiled", "CompiledFunction": "compiled"}
"""What torch itself marks, by the begin of its name."""
OPERATORS = {
    "attention": ("bmm", "_softmax", "attention"),
    "linear": ("addmm", "aten::mm", "_linear"),
    "convolutions": ("conv",),
    "norms": ("layer_norm", "batch_norm", "group_norm", "instance_norm"),
    "upsampling": ("upsample",),
    "casts and copies": ("copy_", "_to_copy", "clone", "aten::cat", "aten::stack", "flip", "contiguous"),
    "loss": ("log_softmax", "nll_loss", "cross_entropy"),
    "activations": ("gelu", "relu", "threshold_backward", "silu", "sigmoid", "clamp"),
}
"""Operators by a part of their name; the kind with the longest part that fits counts."""
REST = "the rest"


def kind_of(name: str) -> str:
    """Return the kind of an operator by its name alone."""
    fits = [(len(part), kind) for kind, parts in OPERATORS.items() for part in parts if part in name]
    return max(fits)[1] if fits else REST


@dataclass(frozen=True)
class Profile:
    """Milliseconds and calls of each kind in a step, and the milliseconds of a step without the profiler."""

    kinds: Mapping[str, float]
    calls: Mapping[str, int]
    wall: float

    @property
    def sum(self) -> float:
        """Milliseconds of all kinds."""
        return sum(self.kinds.values())


@contextmanager
def marked() -> Iterator[None]:
    """Mark what the functions do in the profile."""
    with ExitStack() as stack:
        for path, kind in FUNCTIONS.items():
            stack.enter_context(patch(path, _marked(_found(path), kind)))
        yield


def _found(path: str) -> Callable[..., Any]:
    owner, _, name = path.rpartition(".")
    found: Callable[..., Any] = getattr(resolve_name(owner), name)
    return found


def _marked(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    @wraps(function)
    def marking(*args: Any, **kwargs: Any) -> Any:
        with record_function(_MARK + kind):
            return function(*args, **kwargs)

    return marking


def profiled(step: Callable[[], object], steps: int, device: torch.device, trace: Path | None = None) -> Profile:
    """Profile a step after one that warms it up.

    Args:
        step: takes one.
        steps: how many are profiled.
        device: whose time counts.
        trace: file for a trace, or None.
    """
    step()
    wall = seconds_of(lambda: [step() for _ in range(steps)], device).wall / steps
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as found:
        for _ in range(steps):
            step()
    if trace:
        found.export_chrome_trace(str(trace))
    times, calls = defaultdict[str, float](float), defaultdict[str, int](int)
    for event in found.events():
        if event.device_type == DeviceType.CPU:
            taken = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
            kind = _kind_within(event)
            times[kind] += taken / 1000 / steps
            calls[kind] += 1
    return Profile(dict(times), {kind: count // steps for kind, count in calls.items()}, 1000 * wall)


def _kind_within(event: FunctionEvent) -> str:
    """Return the kind of the nearest marked function around an operator, else that of the operator."""
    around: FunctionEvent | None = event
    while around is not None:
        if around.name.startswith(_MARK):
            return around.name.removeprefix(_MARK)
        kind = next((kind for begin, kind in RECORDED.items() if around.name.startswith(begin)), None)
        if kind:
            return kind
        around = around.cpu_parent
    return kind_of(event.name)


def table(sides: Mapping[str, Profile]) -> str:
    """Return milliseconds of a step and shares by kind, the costliest first."""
    first = next(iter(sides.values()))
    kinds = sorted({kind for side in sides.values() for kind in side.kinds}, key=lambda kind: -first.kinds.get(kind, 0))
    lines = [
        f"| kind | {' | '.join(f'{name}: ms | share | operators' for name in sides)} |",
        f"|---|{'--:|--:|--:|' * len(sides)}",
    ]
    for kind in kinds:
        cells = [
            f"{side.kinds.get(kind, 0):.1f} | {side.kinds.get(kind, 0) / side.sum:.1%} | {side.calls.get(kind, 0)}"
            for side in sides.values()
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    sums = [f"{side.sum:.1f} | | {sum(side.calls.values())}" for side in sides.values()]
    walls = [f"{side.wall:.1f} | | " for side in sides.values()]
    return "\n".join([*lines, f"| all | {' | '.join(sums)} |", f"| wall, not profiled | {' | '.join(walls)} |"])


def profile_config(recipe: str, overrides: Sequence[str], ground: Ground) -> Config:
    """Return the settings of a recipe with random weights, and with images where it names none."""
    own = {
        "--model.weights": "random",
        "--data.workers": "0",
        "--run.folder": str(ground.folder / "runs"),
        "--consistency.warm_up": "0",  # the first steps are profiled, and are to be like all others
    }
    words = [*(word for pair in own.items() for word in pair), *overrides]
    config = recipe_config(recipe, words)
    if config.data.root is not None:
        return config
    drawn = [] if ground.data else ["--data.spec", "null", "--data.split", "null", "--data.val", "null"]
    return recipe_config(recipe, [*words, *drawn, *ground.data_words()])


def main(words: Sequence[str]) -> int:
    """Print where the time goes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed profile", description=__doc__.partition("\n")[0])
    parser.add_argument("recipe", help="as `semiseg train` takes it; its settings follow as --key value")
    parser.add_argument("--plain", action="store_true", help="also the plain step of the same network (UniMatch V2)")
    parser.add_argument("--steps", type=int, default=3, metavar="N", help="how many steps are profiled; default 3")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write a trace of our steps (.json.gz)")
    options, overrides = parser.parse_known_args(words)
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(machine=this_machine(), folder=Path(folder), data=shared_camvid())
        config = profile_config(options.recipe, overrides, ground)
        config = replace(config, schedule=replace(config.schedule, steps=10_000))
        sides = profile_sides(config, options.steps, plain=options.plain, trace=options.trace)
        model = f"{config.method}, {config.model.encoder}, crop {config.data.crop}, batch {config.schedule.batch}"
        print(f"{model}, {config.precision}; {ground.machine.name}, {torch.get_num_threads()} threads\n")
    print(table(sides))
    return 0


def profile_sides(config: Config, steps: int, *, plain: bool, trace: Path | None = None) -> dict[str, Profile]:
    """Profile our step, from batches in memory, and the plain one where it is asked for."""
    found = {}
    with marked(), opened(config) as task:
        batches, device = in_memory(task), task.processes.device
        other = Plain(task, config) if plain else None
        ours, mine = Ours(task), cycle(batches)
        found["ours"] = profiled(lambda: ours.step(mine), steps, device, trace)
        if other:
            its = cycle(other.rendered(batches))
            found["plain"] = profiled(lambda: other.step(its), steps, device)
    return found
