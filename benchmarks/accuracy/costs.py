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

STEPS, ROUNDS = 16, 3


class Costs:
    """Costs of the variants on one data set, in steps of the clock.

    Both are timed in turn, so that what else the machine does hits both, and once: later runs have the same length.
    """

    def __init__(self, plan: Plan, dataset: Dataset, out: Path) -> None:
        """Read what is known.

        Args:
            plan: names the clock.
            dataset: what is learned.
            out: folder of all.
        """
        self.plan, self.dataset, self.out = plan, dataset, out
        self.clock = plan.variants[plan.clock]
        self.file = out / "costs" / f"{dataset.name}.json"
        self.found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else {}

    def knows(self, variant: Variant) -> bool:
        """Whether the cost of a variant is known, of its settings and those of the clock as they are now."""
        known = self.found.get(variant.name)
        return variant.cost is not None or (
            known is not None
            and same(known["config"], self._config(variant))
            and same(known["clock"], self._config(self.clock))
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
        rounds = [
            {each.name: self._seconds(each, number, core) for each in (self.clock, *unknown)}
            for number in range(ROUNDS)
        ]
        for variant in unknown:
            self.found[variant.name] = self._entry(variant, rounds)
            cost = self.of(variant)
            print(f"{self.dataset.name}: a step of {variant.name} costs {cost:.2f} of {self.clock.name}'s", flush=True)
        write_text(self.file, json.dumps(self.found, indent=1) + "\n")

    def _entry(self, variant: Variant, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        ratios = [seconds[variant.name]["cpu"] / seconds[self.clock.name]["cpu"] for seconds in rounds]
        return {
            "cost": median(ratios),
            "ratios": ratios,
            "seconds": [seconds[variant.name] for seconds in rounds],
            "seconds_of_the_clock": [seconds[self.clock.name] for seconds in rounds],
            "config": self._config(variant),
            "clock": self._config(self.clock),
        }

    def _config(self, variant: Variant) -> dict[str, Any]:
        return to_dict(self.plan.config(self.dataset, variant))

    def _seconds(self, variant: Variant, number: int, core: int | None) -> dict[str, float]:
        """Return the mean seconds of a step, `cpu` and `wall`, of a short training."""
        folder, name = self.out / "costs" / self.dataset.name / variant.name, f"round{number}"
        config = to_dict(self.plan.config(self.dataset, variant, number, STEPS))
        config["run"] = {"folder": str(folder), "name": name}
        file, result = folder / f"{name}.job.json", folder / f"{name}.json"
        process = start(file, {"config": config, "result": str(result), "calibrate": True}, core)
        try:
            code = process.wait()
        finally:
            process.terminate()
        if code:
            what = f"{self.dataset.name}/{variant.name} cannot be timed: {complaint(file)}"
            raise RunError(what, remedy="correct the plan")
        seconds: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
        return seconds
