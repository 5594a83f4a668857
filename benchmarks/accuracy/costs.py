"""What a step of a variant costs, for trainings that take equal time: the schedule must know its length beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.accuracy.jobs import complaint, start
from benchmarks.accuracy.plan import Dataset, Plan, Variant, same

from semiseg.config import to_dict
from semiseg.errors import RunError
from semiseg.files import write_text

STEPS, ROUNDS = 12, 3
_OTHER_IMAGES = {"root": None, "split": None, "val": None, "unlabeled": []}
"""Other images of the same crop cost the same."""


class Costs:
    """Costs of the variants with one recipe, in steps of the clock.

    Both are timed in turn, so that what else the machine does hits both, and once: later runs have the same length.
    """

    def __init__(self, plan: Plan, dataset: Dataset, out: Path) -> None:
        """Read what is known.

        Args:
            plan: names the clock.
            dataset: what is learned; another one of the same recipe and settings has the same costs.
            out: folder of all.
        """
        self.plan, self.dataset = plan, dataset
        self.clock = plan.variants[plan.clock]
        self.file = out / "costs" / f"{Path(dataset.recipe).stem}.json"
        self.found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else {}

    def knows(self, variant: Variant) -> bool:
        """Whether the cost of a variant is known, of its settings and those of the clock as they are now."""
        known = self.found.get(variant.name)
        pairs = {"config": variant, "clock": self.clock}
        return variant.cost is not None or (
            known is not None and all(same(known[part], self._config(each)) for part, each in pairs.items())
        )

    def of(self, variant: Variant) -> float:
        """Return the seconds of a step in those of the clock."""
        return variant.cost or float(self.found[variant.name]["cost"])

    def steps(self, variant: Variant) -> int:
        """Return how many steps take as long as all those of the clock."""
        return max(1, round(self._config(self.clock)["schedule"]["steps"] / self.of(variant)))

    def measure(self, variants: Sequence[Variant], core: int | None) -> None:
        """Measure those that are not known.

        Raises:
            RunError: one does not train.
        """
        unknown = [variant for variant in variants if not self.knows(variant)]
        if not unknown:
            return
        self.dataset.prepare()
        print(f"{self.dataset.recipe}: timing {', '.join(each.name for each in unknown)}", flush=True)
        clock, *others = zip(*self._rounds([self.clock, *unknown], core), strict=True)
        for variant, seconds in zip(unknown, others, strict=True):
            ratios = [mine["cpu"] / its["cpu"] for mine, its in zip(seconds, clock, strict=True)]
            timed = {"ratios": ratios, "seconds": seconds, "seconds_of_the_clock": clock}
            settings = {"config": self._config(variant), "clock": self._config(self.clock)}
            self.found[variant.name] = {"cost": median(ratios), **timed, **settings}
            print(f"a step of {variant.name} costs {self.of(variant):.2f} of {self.clock.name}'s", flush=True)
        write_text(self.file, json.dumps(self.found, indent=1) + "\n")

    def _config(self, variant: Variant) -> dict[str, Any]:
        config = to_dict(self.plan.config(self.dataset, variant))
        return {**config, "data": {**config["data"], **_OTHER_IMAGES}}

    def _rounds(self, variants: Sequence[Variant], core: int | None) -> Sequence[Sequence[Mapping[str, float]]]:
        """Return the mean seconds of a step, `cpu` and `wall`, of each variant in each round of short trainings."""
        folder = self.file.with_suffix("")
        configs = [to_dict(self.plan.config(self.dataset, variant, steps=STEPS)) for variant in variants]
        placed = [{**config, "run": {"folder": str(folder), "name": "timed"}} for config in configs]
        file, result = folder / "timing.job.json", folder / "timing.json"
        process = start(file, {"calibrate": [placed] * ROUNDS, "result": str(result)}, core)
        try:
            code = process.wait()
        finally:
            process.terminate()
        if code:
            raise RunError(f"a variant cannot be timed: {complaint(file)}", remedy="correct the plan")
        rounds: Sequence[Sequence[Mapping[str, float]]] = json.loads(result.read_text(encoding="utf-8"))
        return rounds
